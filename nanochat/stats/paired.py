"""Paired comparison of several arms over the seeds they share.

The estimand is the difference of two arms' means over a new seed, on the same test set. One procedure gives both
the word and the interval: a paired t interval for each of the k(k-1)/2 pairs, Bonferroni-adjusted over all of
them, so that looking first and choosing the leader afterwards is covered too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Word = Literal["best", "worse", "undecided", "alone", "no result"]

# With two seeds an interval exists but says next to nothing; below three there is no verdict.
FEWEST_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`mean` of one arm's scores minus another's over `seeds` shared seeds; no interval below three of them."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is concluded of one arm: the word, and its difference to the leader (None for the leader itself)."""

    word: Word
    difference: Difference | None


def difference(
    a: Float[np.ndarray, " seeds"], b: Float[np.ndarray, " seeds"], *, comparisons: int = 1, confidence: float = 0.95
) -> Difference:
    """The paired t interval of mean(a - b), at `1 - (1 - confidence) / comparisons`; NaN marks a missing run.

    Raises ValueError where no seed has both.
    """
    from scipy.stats import t

    gaps = a - b
    gaps = gaps[np.isfinite(gaps)]
    count = len(gaps)
    if count == 0:
        raise ValueError("no seed has a score of both arms")
    mean = float(gaps.mean())
    if count < FEWEST_SEEDS:
        return Difference(mean=mean, low=None, high=None, seeds=count)
    quantile = t.ppf(1 - (1 - confidence) / comparisons / 2, df=count - 1)
    half = float(quantile * gaps.std(ddof=1) / np.sqrt(count))
    return Difference(mean=mean, low=mean - half, high=mean + half, seeds=count)


def leader(scores: Float[np.ndarray, "arms seeds"]) -> int | None:
    """The arm with the lowest mean among those with the most scores (the first of equals); None without scores.

    An arm that failed on some seeds does not lead by the seeds it was lucky on.
    """
    counts = np.isfinite(scores).sum(axis=1)
    if counts.max(initial=0) == 0:
        return None
    means = np.full(len(scores), np.inf)
    full = counts == counts.max()
    means[full] = np.nanmean(scores[full], axis=1)
    return int(means.argmin())


def verdicts(scores: Float[np.ndarray, "arms seeds"], *, confidence: float = 0.95) -> list[Verdict]:
    """One verdict for each arm; lower scores are better, NaN marks a missing run.

    An arm is `worse` when its interval to the leader excludes zero, else `undecided`. The leader is `best` when
    every other arm is worse, `undecided` until then, and `alone` when there is nothing to compare it with.
    """
    arms = len(scores)
    first = leader(scores)
    if first is None:
        return [Verdict(word="no result", difference=None)] * arms
    pairs = arms * (arms - 1) // 2
    found = [
        None if i == first else _against(scores[i], scores[first], comparisons=pairs, confidence=confidence)
        for i in range(arms)
    ]
    others = [verdict.word for verdict in found if verdict is not None]
    word: Word = "alone" if not others else "best" if set(others) == {"worse"} else "undecided"
    return [verdict or Verdict(word=word, difference=None) for verdict in found]


def _against(
    scores: Float[np.ndarray, " seeds"], best: Float[np.ndarray, " seeds"], *, comparisons: int, confidence: float
) -> Verdict:
    if not np.isfinite(scores).any():
        return Verdict(word="no result", difference=None)
    if not np.isfinite(scores - best).any():
        return Verdict(word="undecided", difference=None)
    gap = difference(scores, best, comparisons=comparisons, confidence=confidence)
    return Verdict(word="worse" if gap.excludes_zero and gap.mean > 0 else "undecided", difference=gap)
