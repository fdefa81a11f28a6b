"""Paired comparison of several arms over the seeds they share; lower scores are better, NaN marks a missing run.

The estimand is the difference of two arms' means over a new seed (and over new documents, where their variance is
given). One procedure gives both the word and the interval: a paired t interval for every pair that could be looked
at, Bonferroni-adjusted over all of them, so that looking first and choosing the leader afterwards is covered too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.documents import DocumentVariance
from nanochat.stats.sequential import Spending, level_at

Word = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One arm's scores minus another's.

    mean · sd: of the paired differences, None below two seeds · seeds: shared by both · se: of the mean, with the
    documents' share where their variance was given · df: of se · low, high: the interval, None below three seeds ·
    confidence: of this one interval, after every adjustment.
    """

    mean: float
    sd: float | None
    seeds: int
    se: float | None
    df: float | None
    low: float | None
    high: float | None
    confidence: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def mirrored(self) -> Difference:
        """The same difference seen from the other arm: b − a."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return replace(self, mean=-self.mean, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arm `a` (its row) judged against arm `b`: `difference` is a − b, `word` says what a is."""

    a: int
    b: int
    difference: Difference
    word: Word


def difference(
    a: Float[np.ndarray, " seeds"],
    b: Float[np.ndarray, " seeds"],
    *,
    comparisons: int = 1,
    confidence: float = 0.95,
    documents: DocumentVariance | None = None,
    looks: tuple[int, ...] | None = None,
    spending: Spending = "obrien_fleming",
) -> Difference:
    """The paired t interval of mean(a − b) over the seeds that have both, at `1 - (1 - confidence) / comparisons`.

    `documents` adds the variance of new documents, with degrees of freedom by Satterthwaite (Biometrics 1946); those
    are too many at three to five seeds (at a level of 0.3% it errs up to seven times too often), so the interval is
    never narrower than without.
    `looks`, the numbers of seeds at which the study looks and may stop, makes it the repeated confidence interval of
    the look reached (Jennison and Turnbull 1989): all looks together keep the confidence. Raises ValueError where no
    seed has both.
    """
    gaps = a - b
    gaps = gaps[np.isfinite(gaps)]
    seeds = len(gaps)
    if seeds == 0:
        raise ValueError("no seed has a score of both arms")
    alpha = (1 - confidence) / comparisons
    if looks is not None:
        alpha = level_at(seeds, looks=looks, alpha=alpha, spending=spending)
    mean, sd = _mean_and_sd(gaps)
    se, df = (None, None) if sd is None else _standard_error(sd, seeds=seeds, documents=documents)
    low = high = None
    if sd is not None and se is not None and df is not None and seeds >= FEWEST_SEEDS:
        of_seeds = float(-stdtrit(seeds - 1, alpha / 2)) * sd / math.sqrt(seeds)
        half = max(of_seeds, float(-stdtrit(df, alpha / 2)) * se)
        low, high = mean - half, mean + half
    return Difference(mean=mean, sd=sd, seeds=seeds, se=se, df=df, low=low, high=high, confidence=1 - alpha)


def word(gap: Difference, *, rope: float | None) -> Word:
    """What the interval says of a against b; `rope` is the largest difference that does not matter (None: none).

    An interval wholly inside ±rope is equivalent, even where it excludes zero: what it shows does not matter. With
    the interval at 1 − α this is two one-sided tests at α/2 each (Schuirmann 1987): stricter than need be.
    """
    if gap.low is None or gap.high is None:
        return "undecided"
    if rope and -rope <= gap.low and gap.high <= rope:
        return "equivalent"
    if gap.high < 0:
        return "better"
    return "worse" if gap.low > 0 else "undecided"


def compare(
    scores: Float[np.ndarray, "arms seeds"],
    *,
    baseline: int | None = None,
    rope: float | None = None,
    confidence: float = 0.95,
    documents: Callable[[int, int], DocumentVariance | None] | None = None,
    families: int = 1,
    looks: tuple[int, ...] | None = None,
    spending: Spending = "obrien_fleming",
) -> list[Comparison]:
    """Every pair of arms, or every other arm against `baseline`; all intervals hold at once with `confidence`.

    Bonferroni over all of them and over `families`, the number of such tables judged in one study. Pairs without a
    shared seed are left out but still count. `documents` gives the variance of new documents for two rows.
    """
    arms = len(scores)
    pairs = (
        list(itertools.combinations(range(arms), 2))
        if baseline is None
        else [(arm, baseline) for arm in range(arms) if arm != baseline]
    )
    found = []
    for a, b in pairs:
        if np.isfinite(scores[a] - scores[b]).any():
            gap = difference(
                scores[a],
                scores[b],
                comparisons=len(pairs) * families,
                confidence=confidence,
                documents=documents(a, b) if documents else None,
                looks=looks,
                spending=spending,
            )
            found.append(Comparison(a=a, b=b, difference=gap, word=word(gap, rope=rope)))
    return found


def _mean_and_sd(gaps: Float[np.ndarray, " seeds"]) -> tuple[float, float | None]:
    """Exactly rounded sums: the result does not depend on the order of seeds, and b − a mirrors a − b to the bit."""
    if gaps.min() == gaps.max():
        return float(gaps[0]), 0.0 if len(gaps) > 1 else None
    mean = math.fsum(gaps) / len(gaps)
    return mean, math.sqrt(math.fsum((gaps - mean) ** 2) / (len(gaps) - 1))


def _standard_error(sd: float, *, seeds: int, documents: DocumentVariance | None) -> tuple[float, float]:
    if documents is None or documents.variance == 0:
        return sd / math.sqrt(seeds), float(seeds - 1)
    of_seeds, of_documents = sd**2 / seeds, documents.variance
    total = of_seeds + of_documents
    # Scaled by the total, so that no square of a small variance underflows.
    doubt = (of_seeds / total) ** 2 / (seeds - 1) + (of_documents / total) ** 2 / documents.df
    return math.sqrt(total), 1 / doubt
