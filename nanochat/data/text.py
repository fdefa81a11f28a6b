"""Texts of one's own: .txt, .jsonl and .csv files."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from nanochat.core.errors import alternatives, spec_error
from nanochat.data.base import DataSpec, Document
from nanochat.data.formats import READERS, Layout

WILD = frozenset("*?[")


class TextSpec(DataSpec):
    """A file, a folder (with all below it) or a glob pattern of .txt, .jsonl and .csv files in UTF-8.

    path: relative to the working folder, `~` expanded. Files come in the order of their names.
    field: the column or key that holds the text; null = `text`, or the only one that holds text.
    document: what becomes a document of a .txt file: the `file`, a `line`, or a `paragraph` (a block between blank
    lines); null = the file where there are several, else paragraphs where it has blank lines, else lines.
    A row of a .csv or a line of a .jsonl file is a document. Documents without any text are left out.
    """

    more_documents: ClassVar[str] = "give more text, or cut .txt files finer with data.document=paragraph or line"

    path: str | None
    field: str | None
    document: Literal["file", "line", "paragraph"] | None

    def documents(self) -> Iterator[Document]:
        paths, root = self.sources(), self._root()
        layout: Layout | None = self.document or ("file" if len(paths) > 1 else None)
        empty = True
        for path in paths:
            name = path.relative_to(root).as_posix()
            for line, text in READERS[path.suffix.lower()](_text_of(path), str(path), self.field, layout):
                if text.strip():
                    empty = False
                    yield Document(f"{name}:{line}" if line else name, text)
        if empty:
            raise spec_error("path", self.path, "holds no text", "choose another file or folder")

    def sources(self) -> Sequence[Path]:
        path = self._expanded()
        if path.is_file():
            return [_readable(path)]
        if path.is_dir():
            return _in_folder(path)
        if not WILD & set(str(path)):
            raise spec_error("path", self.path, "there is no such file or folder", _nearest_existing(path))
        root = self._root()
        found = [file for file in root.glob(str(path.relative_to(root))) if file.is_file()] if root.is_dir() else []
        if not found:
            raise spec_error("path", self.path, "matches no file", _nearest_existing(path))
        return sorted((_readable(file) for file in found), key=lambda file: file.relative_to(root).as_posix())

    def describe(self) -> str:
        count = len(self.sources())
        return f"{self.path}, {count} file{'s' if count > 1 else ''}"

    def _expanded(self) -> Path:
        if self.path is None:
            raise spec_error("path", None, "is missing", "give a .txt, .jsonl or .csv file, a folder or a pattern")
        return Path(self.path).expanduser()

    def _root(self) -> Path:
        """The folder that documents' names are relative to; of a pattern, the last one before a wildcard."""
        path = self._expanded()
        if path.is_dir():
            return path
        return next(folder for folder in path.parents if folder.is_dir() or not WILD & set(str(folder)))


def _in_folder(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    known = [path for path in files if path.suffix.lower() in READERS]
    if not known:
        others = sorted({path.suffix or path.name for path in files})
        rule = f"holds no {alternatives(READERS)} file"
        raise spec_error("path", str(folder), rule, f"it holds {alternatives(others)}" if others else "it is empty")
    return sorted(known, key=lambda path: path.relative_to(folder).as_posix())


def _readable(path: Path) -> Path:
    if path.suffix.lower() not in READERS:
        raise spec_error("path", str(path), f"must end in {alternatives(READERS)}", "rename or convert it")
    return path


def _nearest_existing(path: Path) -> str:
    """The remedy for a path that is not there: the file beside it with the most similar name, or what is there."""
    absolute = path.absolute()
    folder = next(parent for parent in absolute.parents if parent.is_dir())
    missing = absolute.relative_to(folder).parts[0]
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    close = difflib.get_close_matches(missing, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{folder / close[0]}'?"
    return f"{folder} holds {alternatives(names)}" if names else f"{folder} is empty"


def _text_of(path: Path) -> str:
    """The file's text; refuses what is not UTF-8 text, naming the byte that shows it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise spec_error("path", str(path), f"cannot be read ({error.strerror})") from None
    nul = data.find(b"\0")
    if nul >= 0:
        raise spec_error("path", str(path), f"is not text: byte {nul} is NUL", "convert it to UTF-8 text")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        rule = f"is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}"
        raise spec_error("path", str(path), rule, "convert it to UTF-8") from None
