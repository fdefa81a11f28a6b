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
    """All documents in an order drawn anew for every epoch, cut every `context` tokens.

    Sequence i holds the stream's tokens i·T … i·T+T, T being the context: every token is a target exactly once an
    epoch. It is a pure function of (shard, context, seed, i): any process can start anywhere, in any order.
    """

    def __init__(self, shard: Shard, *, context: int, seed: int) -> None:
        assert shard.tokens > context >= 1, "a corpus shorter than one sequence is refused when it is prepared"
        self.shard, self.context, self.seed = shard, context, seed
        self._lengths = np.diff(shard.starts)
        self._epochs: dict[int, _Epoch] = {}

    @property
    def epoch_tokens(self) -> int:
        """Tokens in one pass over the corpus."""
        return self.shard.tokens

    def covered(self, tokens: int) -> tuple[float, float]:
        """After training on this many tokens of the stream: share of the corpus seen, in [0, 1], and epochs."""
        epochs = tokens / self.epoch_tokens
        return min(1.0, epochs), epochs

    def __getitem__(self, index: int) -> Sequence:
        tokens, docs = self._read(index * self.context, index * self.context + self.context + 1)
        return Sequence(tokens, docs)

    def batch(
        self, first: int, count: int
    ) -> tuple[Int[np.ndarray, "count time_plus_1"], Int[np.ndarray, "count time_plus_1"]]:
        """Sequences first … first+count−1 as two tensors, tokens and docs; one read for all of them."""
        tokens, docs = self._read(first * self.context, (first + count) * self.context + 1)
        places = np.arange(count)[:, None] * self.context + np.arange(self.context + 1)
        return Batch(tokens[places], docs[places])

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
    """The permutation of the documents in one epoch: a function of the texts, the seed and the epoch alone.

    Documents are sorted by random 64-bit keys from Philox, whose stream numpy promises to keep, unlike the
    algorithm behind its `permutation`.
    """
    digest = hashlib.sha256(f"order {fingerprint} {seed} {epoch}".encode()).digest()
    keys = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(documents)
    return np.argsort(keys, kind="stable").astype(np.int64)
