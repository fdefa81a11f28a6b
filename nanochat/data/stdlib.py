"""The source text of the running Python's standard library: a corpus that every machine already has."""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from nanochat.core.errors import MachineError
from nanochat.core.spec import Count
from nanochat.data.base import DataSpec, Document
from nanochat.data.split import document_hash

# Tests and vendored wheels are not the library; an IDE and its kin are programs; encodings and pydoc_data are
# generated tables, which a model learns by heart.
LEFT_OUT = {
    "test",
    "tests",
    "__pycache__",
    "site-packages",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "ensurepip",
    "encodings",
    "pydoc_data",
}


class StdlibSpec(DataSpec):
    """One document per Python file of the standard library, as installed: about 9 MB, and other text for every
    Python version.

    max_bytes: keep the files of lowest text hash until this many bytes; null = all. Files that are not UTF-8 are
    left out.
    """

    max_bytes: Count | None

    def documents(self) -> Iterator[Document]:
        root = library()
        documents = []
        for path in self.sources():
            text = _source_text(path)
            if text:
                documents.append(Document(path.relative_to(root).as_posix(), text))
        yield from documents if self.max_bytes is None else _capped(documents, self.max_bytes)

    def sources(self) -> Sequence[Path]:
        root = library()
        paths = []
        for folder, folders, files in os.walk(root):
            # Pruned on the way down: site-packages alone may hold ten times the library.
            folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
            paths += [Path(folder, name) for name in files if name.endswith(".py")]
        if not paths:
            raise MachineError(f"{root}: this Python keeps no source text of its standard library; choose another data")
        return sorted(paths, key=lambda path: path.relative_to(root).as_posix())

    def describe(self) -> str:
        cap = "" if self.max_bytes is None else f", at most {self.max_bytes:,} bytes"
        version = platform.python_version()
        return f"Python {version} standard library, {len(self.sources())} files{cap}; it differs by Python version"


def library() -> Path:
    """The folder of the running Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _source_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _capped(documents: list[Document], limit: int) -> Iterator[Document]:
    """The documents of lowest hash that fit into `limit` bytes, in their own order; at least one."""
    kept, size = set(), 0
    for document in sorted(documents, key=lambda document: (document_hash(document.text), document.name)):
        size += len(document.text.encode())
        if kept and size > limit:
            break
        kept.add(document.name)
    return (document for document in documents if document.name in kept)
