"""How much a model's own texts vary, and how soon they repeat themselves."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

# A text loops where its end is one piece of at most so many characters, at least so often in a row.
LONGEST_PERIOD, FEWEST_TURNS = 64, 3


def diversity(texts: Sequence[str]) -> dict[str, float]:
    """Means over texts: of greedy ones, where degeneration shows first, or of sampled ones.

    distinct_2: different pairs of words among all (Li et al. 2016, 1510.03055) · repeated_4: share of 4-grams of words
    that were there before in the text (seq-rep-4, Welleck et al. 2020, 1908.04319) · compression: bytes by bytes when
    deflated, high where text repeats (Shaib et al. 2024, 2403.00553) · loops: share of texts that end in a loop.
    Raises ValueError without texts.
    """
    if not texts:
        raise ValueError("no text to measure")
    count = len(texts)
    return {
        "distinct_2": sum(distinct(text.split(), 2) for text in texts) / count,
        "repeated_4": sum(1 - distinct(text.split(), 4) for text in texts) / count,
        "compression": sum(compression(text) for text in texts) / count,
        "loops": sum(loops(text) for text in texts) / count,
    }


def distinct(words: Sequence[str], n: int) -> float:
    """Different n-grams by all n-grams; 1 where there are none."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def compression(text: str) -> float:
    """UTF-8 bytes by bytes when deflated; 1 for nothing."""
    data = text.encode()
    return len(data) / len(zlib.compress(data, 9)) if data else 1.0


def loops(text: str) -> bool:
    """Whether the text ends in one piece, over and over."""
    return any(
        len(text) >= FEWEST_TURNS * period and text.endswith(text[-period:] * FEWEST_TURNS)
        for period in range(1, LONGEST_PERIOD + 1)
    )
