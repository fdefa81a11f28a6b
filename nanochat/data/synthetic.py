"""Texts from a source whose entropy is known exactly: how close does a model come to the best possible?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from pydantic import Field

from nanochat.core.spec import Count
from nanochat.core.spec import Int as Whole
from nanochat.data.base import DataSpec, Document

SYLLABLES = [consonant + vowel for vowel in "aeiou" for consonant in "bdfghjklmnprstvw"]

# Documents are drawn this many at a time, so that asking for more leaves the first ones as they were.
CHUNK = 1024


class SyntheticSpec(DataSpec):
    """Words emitted by a Markov source that is unifilar: the state and the word emitted give the next state
    (Shannon 1948, §7; Crutchfield and Young 1989 for the name).

    seed: of the source and its documents · vocabulary: distinct words · states: of the source (1: words are
    independent) · zipf: exponent of the words' frequencies by rank · count: documents · length: words in each.

    Every document starts in state 0 and every word, the last too, is followed by a space. So whoever knows the
    source knows its state after every word; words can be told apart in the text; and −log2 of the probability that a
    text of this source begins with the document is the sum over its words of −log2 p(word | state): exact for the
    finite documents that are scored, with no allowance for an unknown start or an unfinished end. A model that does not
    count words loses a little more: after each it gives the document's end a chance of 1/length, −log2(1 − 1/length)
    bits a word. Where it matters how near the entropy a model comes, documents must be long.
    """

    seed: Annotated[Whole, Field(ge=0)]
    vocabulary: Count
    states: Count
    zipf: Annotated[float, Field(ge=0)]
    count: Count
    length: Count

    def documents(self) -> Iterator[Document]:
        source = self.source()
        words = np.array([word + " " for word in source.words], dtype=object)
        for first in range(0, self.count, CHUNK):
            rows = source.sample(CHUNK, length=self.length, generator=_generator(self.seed, 1 + first // CHUNK))
            for number, row in enumerate(rows[: self.count - first], start=first):
                yield Document(f"synthetic:{number}", "".join(words[row]))

    def source(self) -> Source:
        """The source itself, which can also score texts."""
        return Source.draw(seed=self.seed, vocabulary=self.vocabulary, states=self.states, zipf=self.zipf)

    def describe(self) -> str:
        return (
            f"synthetic Markov source, {self.states} states, {self.vocabulary:,} words, "
            f"{self.count:,} documents of {self.length} words, {self.entropy():.4f} bits per byte"
        )

    def entropy(self) -> float:
        """Expected bits of a document over its expected bytes: where bits per byte of many documents converge."""
        bits, size = self.source().expected(self.length)
        return bits / size


class Source:
    """words: the vocabulary · p: probability of each word in each state · following: the state it leads to."""

    def __init__(
        self,
        words: list[str],
        p: Float[np.ndarray, "states vocabulary"],
        following: Int[np.ndarray, "states vocabulary"],
    ) -> None:
        self.words, self.p, self.following = words, p, following
        self._number = {word: number for number, word in enumerate(words)}
        self._sizes = np.array([len(word) + 1 for word in words])

    @classmethod
    def draw(cls, *, seed: int, vocabulary: int, states: int, zipf: float) -> Source:
        """A random source: Zipfian weights times an exponential variate for each state and word, random next states.

        The first word leads from every state to the one after it, so every state is reached from every other and the
        stationary distribution is unique.
        """
        generator = _generator(seed, 0)
        ranks = np.arange(1, vocabulary + 1, dtype=np.float64)
        weights = ranks**-zipf * -np.log1p(-generator.random((states, vocabulary)))
        following = (generator.random((states, vocabulary)) * states).astype(np.int64)
        following[:, 0] = (np.arange(states) + 1) % states
        return cls([_word(rank) for rank in range(vocabulary)], weights / weights.sum(1, keepdims=True), following)

    def sample(self, count: int, *, length: int, generator: np.random.Generator) -> Int[np.ndarray, "count length"]:
        """Word numbers of `count` documents, drawn together word by word."""
        # One sorted list for all states: state s occupies s … s+1.
        ladder = (np.cumsum(self.p, axis=1) + np.arange(len(self.p))[:, None]).ravel()
        state, result = np.zeros(count, dtype=np.int64), np.empty((count, length), dtype=np.int64)
        vocabulary = len(self.words)
        for place in range(length):
            found = np.searchsorted(ladder, state + generator.random(count), side="right") - state * vocabulary
            result[:, place] = word = np.clip(found, 0, vocabulary - 1)  # rounding can push past a state's end
            state = self.following[state, word]
        return result

    def bits(self, text: str) -> float:
        """−log2 of the probability that what the source writes begins with `text`."""
        state, total = 0, 0.0
        for word in text.split():
            number = self._number[word]
            total -= float(np.log2(self.p[state, number]))
            state = int(self.following[state, number])
        return total

    def expected(self, length: int) -> tuple[float, float]:
        """Expected bits and expected bytes of a document of `length` words, carrying the states' distribution along."""
        entropy, size, transition = self._by_state()
        state = np.zeros(len(self.p))
        state[0] = 1.0
        bits = total = 0.0
        for _ in range(length):
            bits += float(state @ entropy)
            total += float(state @ size)
            state = state @ transition
        return bits, total

    def rate(self) -> tuple[float, float]:
        """Entropy rate in bits per word and in bits per byte, of documents without end."""
        entropy, size, _ = self._by_state()
        state = self.stationary()
        return float(state @ entropy), float(state @ entropy) / float(state @ size)

    def stationary(self) -> Float[np.ndarray, " states"]:
        """π with π = π·P and sum 1, by least squares on those equations."""
        _, _, transition = self._by_state()
        states = len(transition)
        equations = np.concatenate([transition.T - np.eye(states), np.ones((1, states))])
        return np.linalg.lstsq(equations, np.array([0.0] * states + [1.0]), rcond=None)[0]

    def _by_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """For each state: entropy of its next word, expected bytes of that word, distribution of the next state."""
        p = self.p
        entropy = -np.where(p > 0, p * np.log2(np.where(p > 0, p, 1.0)), 0.0).sum(1)
        transition = np.zeros((len(p), len(p)))
        np.add.at(transition, (np.arange(len(p))[:, None], self.following), p)
        return entropy, p @ self._sizes, transition


def _generator(seed: int, stream: int) -> np.random.Generator:
    """An independent stream of the seed: 0 draws the source, 1, 2, … the chunks of documents."""
    return np.random.Generator(np.random.Philox(key=[seed, stream]))


def _word(rank: int) -> str:
    """A distinct pronounceable word for every rank, the most frequent ones the shortest: ba, da, … babu …"""
    base, word, rest = len(SYLLABLES), "", rank + 1
    while rest > 0:  # bijective numeration: every number has one spelling
        rest, digit = divmod(rest - 1, base)
        word = SYLLABLES[digit] + word
    return word
