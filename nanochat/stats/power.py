"""How surely a comparison of so many seeds would be decided, and how many seeds that takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaincinv, ndtr, stdtrit

from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.paired import Difference

Numbers = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class _Plan:
    """An interval for each of several numbers of seeds.

    se, df: of the estimate, and of its se · half: the half width when the sampled se happens to be the true one.
    """

    se: Numbers
    df: Numbers
    half: Numbers

    def halves(self) -> tuple[Float[np.ndarray, "n nodes"], Float[np.ndarray, " nodes"]]:
        """The half width at quantiles of the sampled se, and the weight of each quantile."""
        at, weights = _nodes()
        sampled = np.sqrt(2 * gammaincinv(self.df[:, None] / 2, at) / self.df[:, None])
        return self.half[:, None] * sampled, weights


def power(true_difference: float, sd: float, *, seeds: int, alpha: float) -> float:
    """The chance that the two-sided paired t test finds a true difference; `sd` is that of the paired differences.

    The two tails of the noncentral t, integrated here over the sampled standard deviation: always finite. Raises
    ValueError below two seeds.
    """
    return float(_decided(true_difference, _paired(sd, seeds=seeds, alpha=alpha), rope=None)[0])


def equivalence_power(true_difference: float, sd: float, *, seeds: int, alpha: float, rope: float) -> float:
    """The chance that the 1 − alpha interval lies inside ±rope. Raises ValueError below two seeds."""
    plan = _paired(sd, seeds=seeds, alpha=alpha)
    half, weights = plan.halves()
    return float((_within(rope - half, mean=true_difference, se=plan.se) @ weights)[0]) if rope else 0.0


def seeds_needed(
    gap: Difference,
    *,
    rope: float | None,
    comparisons: int,
    confidence: float = 0.95,
    power: float = 0.8,
    most: int = 1000,
) -> int | None:
    """The least number of seeds, those there already included, that decides the comparison with chance `power`.

    Decided is better, worse or equivalent. The true difference and standard deviation are taken to be those observed,
    so from a few seeds this is a rough guide. The share of the documents in `gap.se` stays: more seeds do not lessen
    it. None without a standard deviation, and where more than `most` would be needed.
    """
    if gap.sd is None:
        return None
    seeds = np.arange(FEWEST_SEEDS, most + 1)
    chance = _decided(gap.mean, _with_seeds(gap, seeds=seeds, alpha=(1 - confidence) / comparisons), rope=rope)
    enough = np.flatnonzero(chance >= power)
    return int(seeds[enough[0]]) if len(enough) else None


def _paired(sd: float, *, seeds: int, alpha: float) -> _Plan:
    if seeds < 2:
        raise ValueError(f"a paired t test needs at least two seeds, not {seeds}")
    se, df = np.array([sd / np.sqrt(seeds)]), np.array([seeds - 1.0])
    return _Plan(se=se, df=df, half=-stdtrit(df, alpha / 2) * se)


def _with_seeds(gap: Difference, *, seeds: Int[np.ndarray, " n"], alpha: float) -> _Plan:
    """`gap` with other numbers of seeds, the documents' part kept as it is."""
    assert gap.sd is not None and gap.se is not None and gap.df is not None
    now, of_seeds = gap.sd**2 / gap.seeds, gap.sd**2 / seeds
    half = -stdtrit(seeds - 1.0, alpha / 2) * np.sqrt(of_seeds)
    of_documents = gap.se**2 - now
    if of_documents <= 1e-9 * now:  # no more than rounding
        return _Plan(se=np.sqrt(of_seeds), df=seeds - 1.0, half=half)
    doubt = max(0.0, gap.se**4 / gap.df - now**2 / (gap.seeds - 1))
    total = of_seeds + of_documents
    df = total**2 / (of_seeds**2 / (seeds - 1) + doubt)
    return _Plan(se=np.sqrt(total), df=df, half=np.maximum(half, -stdtrit(df, alpha / 2) * np.sqrt(total)))


def _decided(mean: float, plan: _Plan, *, rope: float | None) -> Numbers:
    """The chance of a word: undecided is an estimate less than `half` from zero, unless within `rope` less `half`."""
    half, weights = plan.halves()
    undecided = _within(half, mean=mean, se=plan.se)
    if rope:
        undecided = undecided - _within(np.minimum(half, rope - half), mean=mean, se=plan.se)
    return 1 - undecided @ weights


def _within(limit: Float[np.ndarray, "n nodes"], *, mean: float, se: Numbers) -> Float[np.ndarray, "n nodes"]:
    """The chance that a normal estimate of `mean` lies in ±limit; none lies in a limit below zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = ndtr((limit - mean) / se[:, None]) - ndtr((-limit - mean) / se[:, None])
    certain = (abs(mean) <= limit).astype(float)
    return np.where(se[:, None] > 0, np.maximum(chance, 0.0), certain)


@lru_cache
def _nodes() -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """Gauss–Legendre on (0, 1)."""
    at, weights = np.polynomial.legendre.leggauss(64)
    return (at + 1) / 2, weights / 2
