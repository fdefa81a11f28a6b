"""The tokens of one split on disk, mapped into memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nanochat.core.artifact import writable
from nanochat.core.errors import MachineError

TOKENS, INDEX, NAMES = "tokens.bin", "documents.npy", "names.jsonl"

# One row per document; `stop` is where its tokens end and those of the next start.
ROW = np.dtype([("stop", "<i8"), ("bytes", "<i8"), ("hash", "<u8")])


class Shard:
    """Documents of one split, one after the other, each beginning with the beginning-of-text token.

    token_ids: [tokens] uint16 or int32, mapped, never copied · starts: [documents + 1] where each document's tokens
    start, the total last · document_bytes: [documents] UTF-8 bytes of each text · hashes: [documents] uint64, see
    `split.document_hash` · fingerprint: of the corpus that the split belongs to.
    """

    def __init__(self, folder: Path, *, dtype: str, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        try:
            rows = np.load(folder / INDEX)
            # A plain array over the mapping: numpy's memmap class costs microseconds at every slice.
            self.token_ids: NDArray[Any] = np.asarray(np.memmap(folder / TOKENS, dtype=dtype, mode="r"))
        except (OSError, ValueError) as error:
            remedy = f"remove {folder.parent} to have it made again"
            raise MachineError(f"{folder}: is damaged ({error}); {remedy}") from error
        self.starts: NDArray[np.int64] = np.concatenate([[0], rows["stop"]]).astype(np.int64)
        self.document_bytes: NDArray[np.int64] = rows["bytes"].astype(np.int64)
        self.hashes: NDArray[np.uint64] = rows["hash"].astype(np.uint64)
        assert self.starts[-1] == len(self.token_ids), f"{folder}: index and tokens disagree"

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.document_bytes)

    @property
    def tokens(self) -> int:
        """Number of tokens, one beginning-of-text token per document included."""
        return len(self.token_ids)

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return int(self.document_bytes.sum())

    def document(self, index: int) -> NDArray[Any]:
        """The ids of one document, its beginning-of-text token first."""
        return self.token_ids[self.starts[index] : self.starts[index + 1]]

    def names(self) -> list[str]:
        """The documents' names, read from disk at each call."""
        with (self.folder / NAMES).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]


class ShardWriter:
    """Writes a shard document by document; complete, and on disk, once the `with` block ends without an error."""

    def __init__(self, folder: Path, *, dtype: str, bos: int) -> None:
        self._folder, self._dtype = folder, dtype
        self._bos = np.array([bos], dtype=dtype).tobytes()
        self._rows: list[tuple[int, int, int]] = []
        self._stop = 0

    def __enter__(self) -> Self:
        with writable(self._folder):
            self._folder.mkdir(parents=True)
            self._tokens = (self._folder / TOKENS).open("wb")
            self._names = (self._folder / NAMES).open("w", encoding="utf-8", newline="")
        return self

    def add(self, ids: NDArray[Any], *, name: str, size: int, number: int) -> None:
        """Append a document: its ids without the beginning of text, its UTF-8 bytes and its hash."""
        with writable(self._folder):
            self._tokens.write(self._bos)
            self._tokens.write(ids.astype(self._dtype, copy=False).tobytes())
            self._names.write(json.dumps(name) + "\n")
        self._stop += len(ids) + 1
        self._rows.append((self._stop, size, number))

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with writable(self._folder):
            self._tokens.close()
            self._names.close()
            if kind is None:
                np.save(self._folder / INDEX, np.array(self._rows, dtype=ROW))
