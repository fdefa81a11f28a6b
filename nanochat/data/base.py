"""The contract of corpora: where documents come from, and the fingerprint of what they say."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from pydantic import model_validator

from nanochat.core.artifact import read_json, write_json
from nanochat.core.errors import spec_error
from nanochat.core.progress import track
from nanochat.core.spec import Share, Spec, dump, hash_of
from nanochat.data.split import SPLITS, document_hash, split_of_hash

# Raised when documents are read or counted otherwise than before, so that remembered contents are taken anew.
READING = 1

MEGABYTE = 1 << 20


class Document(NamedTuple):
    """One text with the name that people know it by, e.g. `asyncio/base_events.py` or `titles.txt:17`."""

    name: str
    text: str


class Contents(NamedTuple):
    """What the documents of a corpus are, known before anything is tokenised.

    fingerprint: 64 hex digits, the SHA-256 over the documents' hashes in their order: equal for equal texts,
    whatever the files are called and wherever they lie · documents, bytes: how many per split, by split name.
    """

    fingerprint: str
    documents: dict[str, int]
    bytes: dict[str, int]


class DataSpec(Spec):
    """Describes a corpus. valid, test: shares of the documents held out, chosen by the hash of their text.

    Errors carry keys relative to the data section (`path`, `valid`).
    """

    more_documents: ClassVar[str] = "give more documents"  # what a user can do about a split without any

    valid: Share
    test: Share

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.valid + self.test >= 1:
            remedy = "try valid=0.05 and test=0.1"
            raise spec_error("valid", self.valid, f"with test={self.test} leaves nothing to train on", remedy)
        return self

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Every document that has any text, always in the same order. Raises `SpecError` on bad input."""

    def sources(self) -> Sequence[Path]:
        """The files that the documents are read from; none for a corpus that is computed."""
        return ()

    @abstractmethod
    def describe(self) -> str:
        """One line for reports: what this corpus is, with what varies from machine to machine."""

    def entropy(self) -> float | None:
        """The exact entropy of the documents in bits per byte, where it is known: no model can do better."""
        return None

    def fingerprint(self, cache: Path) -> str:
        """The fingerprint of `contents(cache)`."""
        return self.contents(cache).fingerprint

    def contents(self, cache: Path) -> Contents:
        """What the documents are, from one reading of them.

        Remembered in `cache` by the Spec and by path, size and time of change of every source, so that the next
        call costs a `stat` per file. Raises `SpecError` on bad input, `MachineError` when `cache` is unwritable.
        """
        stats = [(str(path.resolve()), path.stat()) for path in self.sources()]
        files = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
        memory = cache / "contents" / f"{hash_of([READING, dump(self), files])}.json"
        if memory.exists():
            return Contents(**read_json(memory))
        contents = self._read_contents(sum(size for _, size, _ in files))
        write_json(memory, contents._asdict())
        return contents

    def _read_contents(self, total: int) -> Contents:
        """`total`: bytes of all sources, for the progress bar; 0 where there are none."""
        digest = hashlib.sha256()
        documents: dict[str, int] = dict.fromkeys(SPLITS, 0)
        sizes: dict[str, int] = dict.fromkeys(SPLITS, 0)

        def megabytes() -> Iterator[None]:
            """Do the work, stopping after every megabyte of text."""
            unreported = 0
            for document in self.documents():
                number = document_hash(document.text)
                digest.update(number.to_bytes(8, "big"))
                split = split_of_hash(number, valid=self.valid, test=self.test)
                size = len(document.text.encode())
                documents[split] += 1
                sizes[split] += size
                unreported += size
                if unreported >= MEGABYTE:
                    unreported = 0
                    yield

        steps = megabytes()
        for _ in track(steps, total=total / MEGABYTE, label="reading the texts") if total else steps:
            pass
        return Contents(digest.hexdigest(), documents, sizes)
