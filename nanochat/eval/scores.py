"""What a scoring found, by document and by kind of token."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOG_OF_LARGEST = math.log(sys.float_info.max)


class Tally(NamedTuple):
    """Sums over groups of predicted tokens, one row a group; all arrays are [groups].

    tokens: predictions · bytes: UTF-8 bytes of the predicted tokens · nats: −ln p, summed · correct: how often the
    likeliest token was the right one · confidence: mean probability of the likeliest token.
    """

    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    nats: NDArray[np.float64]
    correct: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def keep(self, groups: NDArray[np.bool_]) -> Tally:
        """The tally of some of the groups."""
        return Tally(
            self.tokens[groups], self.bytes[groups], self.nats[groups], self.correct[groups], self.confidence[groups]
        )


class Bins(NamedTuple):
    """A tally over intervals low ≤ x < high of some property x of the predictions; empty bins are left out."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Every document that was scored, in the order of the hashes, and three views of the same tokens.

    names, hashes: the documents' · documents: their tally, `bytes` being the UTF-8 bytes of their text · position:
    bins of the number of tokens the model had read · frequency: of how often the token occurs in the training
    split · confidence: of the probability of the likeliest token (calibration: compare accuracy with confidence).
    """

    names: tuple[str, ...]
    hashes: tuple[str, ...]
    documents: Tally
    position: Bins
    frequency: Bins
    confidence: Bins

    @property
    def tokens(self) -> int:
        """Predicted tokens."""
        return int(self.documents.tokens.sum())

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of text scored."""
        return int(self.documents.bytes.sum())

    @property
    def nats(self) -> float:
        """−ln p of all the text."""
        return float(self.documents.nats.sum())

    @property
    def bits_per_byte(self) -> float:
        """Bits to write a byte of the text with the model: comparable across tokenizers."""
        return self.nats / math.log(2) / self.bytes

    @property
    def nats_per_token(self) -> float:
        """The usual loss: comparable between models with one tokenizer only."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(nats per token); infinite where that overflows."""
        return math.inf if self.nats_per_token >= LOG_OF_LARGEST else math.exp(self.nats_per_token)

    @property
    def mean_confidence(self) -> float:
        """Mean probability of the likeliest token."""
        return float((self.documents.confidence * self.documents.tokens).sum() / self.documents.tokens.sum())

    @property
    def accuracy(self) -> float:
        """Share of tokens for which the likeliest one was right."""
        return float(self.documents.correct.sum()) / self.tokens


class Predictions(NamedTuple):
    """One row a predicted token, in the order of the text; all arrays are [tokens].

    size: UTF-8 bytes it stands for · seen: tokens read before it · frequency: its count in the training split.
    """

    size: NDArray[np.int64]
    seen: NDArray[np.int64]
    frequency: NDArray[np.int64]
    nats: NDArray[np.float32]
    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]


def tally(predictions: Predictions, groups: NDArray[np.int64], count: int) -> Tally:
    """Sums in float64 by group number, 0 … count−1."""

    def total(weights: NDArray) -> NDArray[np.float64]:
        return np.bincount(groups, weights=weights, minlength=count).astype(np.float64)

    tokens = np.bincount(groups, minlength=count)
    return Tally(
        tokens=tokens,
        bytes=total(predictions.size).astype(np.int64),
        nats=total(predictions.nats),
        correct=total(predictions.correct).astype(np.int64),
        confidence=total(predictions.confidence) / np.maximum(tokens, 1),
    )


def bins(predictions: Predictions, values: NDArray, edges: NDArray[np.floating]) -> Bins:
    """The tally over edges[i] ≤ value < edges[i+1]; what lies outside, or is not a number, goes to the end bins."""
    count = len(edges) - 1
    groups = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, count - 1)
    sums = tally(predictions, groups, count)
    full = sums.tokens > 0
    edges = edges.astype(np.float64)
    return Bins(edges[:-1][full], edges[1:][full], sums.keep(full))
