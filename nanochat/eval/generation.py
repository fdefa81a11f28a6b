"""How much a model's own texts vary, and how soon they repeat themselves."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

# Characters of a piece that counts as repeated: long enough that a language does not repeat it by itself.
PIECE = 16

# A text loops where its end is one piece of at most so many characters, over and over: at least so often, and for so
# many characters. (Three spaces at the end of a program are no loop.)
LONGEST_PERIOD, FEWEST_TURNS, FEWEST_CHARACTERS = 64, 3, 32


def diversity(texts: Sequence[str]) -> dict[str, float]:
    """Means over texts: of greedy ones, where degeneration shows first, or of sampled ones.

    distinct_2: different pairs of words among all (Li et al. 2016, 1510.03055), 0 where there is no pair · repeated:
    share of pieces of 16 characters that stood in the text before (seq-rep-n of Welleck et al. 2020, 1908.04319, over
    characters, so that tokenizers compare) · compression: bytes by bytes when deflated, high where text repeats (Shaib
    et al. 2024, 2403.00553) · loops: share of texts that end in a loop. Raises ValueError without texts.
    """
    if not texts:
        raise ValueError("no text to measure")
    count = len(texts)
    return {
        "distinct_2": sum(distinct(text.split(), 2) for text in texts) / count,
        "repeated": sum(repeated(text) for text in texts) / count,
        "compression": sum(compression(text) for text in texts) / count,
        "loops": sum(loops(text) for text in texts) / count,
    }


def distinct(parts: Sequence[str], n: int) -> float:
    """Different n-grams by all n-grams; 0 where there are none."""
    grams = [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repeated(text: str) -> float:
    """Share of its pieces that stood in the text before; 0 where it is shorter than a piece."""
    return 1 - distinct(text, PIECE) if len(text) >= PIECE else 0.0


def compression(text: str) -> float:
    """UTF-8 bytes by bytes when deflated; 1 for nothing."""
    data = text.encode()
    return len(data) / len(zlib.compress(data, 9)) if data else 1.0


def loops(text: str) -> bool:
    """Whether the text ends in one piece, over and over."""
    return any(_loops(text, period) for period in range(1, LONGEST_PERIOD + 1))


def _loops(text: str, period: int) -> bool:
    turns = max(FEWEST_TURNS, -(-FEWEST_CHARACTERS // period))
    return len(text) >= turns * period and text.endswith(text[-period:] * turns)
