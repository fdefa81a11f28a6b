"""The endless stream of training sequences, readable at any place."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from nanochat.data.shard import Shard


class Sequence(NamedTuple):
    """T+1 consecutive tokens of the stream: inputs are the first T, targets the last T.

    docs: the number of each token's document in the stream; it grows by one from document to document and never
    repeats, so a document that comes again in the next epoch is another one.
    """

    tokens: Int[np.ndarray, " time_plus_1"]
    docs: Int[np.ndarray, " time_plus_1"]


class Batch(NamedTuple):
    """Several sequences, one a row."""

    tokens: Int[np.ndarray, "count time_plus_1"]
    docs: Int[np.ndarray, "count time_plus_1"]


class _Epoch(NamedTuple):
    order: NDArray[np.int64]  # [documents]: which document comes n-th
    starts: NDArray[np.int64]  # [documents + 1]: where in the epoch the n-th starts


class Sequences:
    """All documents in an order drawn anew for every epoch, cut every `context` tokens, the pieces shuffled.

    Sequence i holds the stream's tokens p·T … p·T+T, T being the context and p = `place(i)`: every token is a target
    exactly once an epoch. It is a pure function of (shard, context, seed, i): any process can start anywhere, in any
    order.
    """

    def __init__(self, shard: Shard, *, context: int, seed: int) -> None:
        assert shard.tokens > context >= 1, "a corpus shorter than one sequence is refused when it is prepared"
        self.shard, self.context, self.seed = shard, context, seed
        self._lengths = np.diff(shard.starts)
        self._epochs: dict[int, _Epoch] = {}
        self._shuffles: dict[int, NDArray[np.int64]] = {}

    @property
    def epoch_tokens(self) -> int:
        """Tokens in one pass over the corpus."""
        return self.shard.tokens

    def covered(self, tokens: int) -> tuple[float, float]:
        """After training on this many tokens of the stream: share of the corpus seen, in [0, 1], and epochs."""
        epochs = tokens / self.epoch_tokens
        return min(1.0, epochs), epochs

    def place(self, index: int) -> int:
        """Which piece of the stream sequence `index` is: sequences come shuffled, an epoch's worth at a time.

        Read in the stream's own order, a batch would be one stretch of one document, and a long file a whole
        stretch of the run.
        """
        size = self.epoch_tokens // self.context
        number, offset = divmod(index, size)
        if number not in self._shuffles:
            self._shuffles = {n: kept for n, kept in self._shuffles.items() if n == number - 1}
            key = f"sequences {self.shard.fingerprint} {self.seed} {number}"
            self._shuffles[number] = permutation(key, size)
        return number * size + int(self._shuffles[number][offset])

    def __getitem__(self, index: int) -> Sequence:
        start = self.place(index) * self.context
        return Sequence(*self._read(start, start + self.context + 1))

    def batch(
        self, first: int, count: int
    ) -> tuple[Int[np.ndarray, "count time_plus_1"], Int[np.ndarray, "count time_plus_1"]]:
        """Sequences first … first+count−1 as two arrays, tokens and docs."""
        found = [self[index] for index in range(first, first + count)]
        return Batch(np.stack([s.tokens for s in found]), np.stack([s.docs for s in found]))

    def _read(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and document numbers of the stream's places start … stop−1."""
        assert 0 <= start < stop, "the stream has a beginning"
        parts = []
        while start < stop:
            epoch, place = divmod(start, self.epoch_tokens)
            length = min(stop - start, self.epoch_tokens - place)
            parts.append(self._read_epoch(epoch, place, place + length))
            start += length
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([docs for _, docs in parts])

    def _read_epoch(self, number: int, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same for places inside one epoch: copy document by document what lies between start and stop."""
        epoch = self._epoch(number)
        first = int(np.searchsorted(epoch.starts, start, side="right")) - 1
        last = int(np.searchsorted(epoch.starts, stop, side="left"))
        edges = np.clip(epoch.starts[first : last + 1], start, stop)
        counts = np.diff(edges)
        # What to add to a place in the epoch to find the same token in the shard: one number per document.
        shifts = self.shard.starts[epoch.order[first:last]] - epoch.starts[first:last]
        tokens = self.shard.token_ids[np.arange(start, stop) + np.repeat(shifts, counts)].astype(np.int64)
        docs = np.repeat(np.arange(first, last) + number * self.shard.documents, counts)
        return tokens, docs

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            order = document_order(self.shard.fingerprint, documents=self.shard.documents, seed=self.seed, epoch=number)
            starts = np.concatenate([[0], np.cumsum(self._lengths[order])])
            if len(self._epochs) > 1:  # a sequence touches at most the end of one epoch and the start of the next
                del self._epochs[min(self._epochs)]
            self._epochs[number] = _Epoch(order, starts)
        return self._epochs[number]


def document_order(fingerprint: str, *, documents: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The permutation of the documents in one epoch: a function of the texts, the seed and the epoch alone."""
    return permutation(f"order {fingerprint} {seed} {epoch}", documents)


def permutation(key: str, count: int) -> NDArray[np.int64]:
    """A permutation of 0 … count−1 that `key` alone decides.

    Numbers are sorted by random 64-bit keys from Philox, whose stream numpy promises to keep, unlike the algorithm
    behind its own `permutation`.
    """
    digest = hashlib.sha256(key.encode()).digest()
    keys = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)
    return np.argsort(keys, kind="stable").astype(np.int64)
