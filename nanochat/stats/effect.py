"""How large a difference is beside the spread over seeds."""

from __future__ import annotations

import math

from scipy.special import gammaln, stdtr

from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.paired import Difference


def standardised(gap: Difference) -> float | None:
    """d_z: the mean over the standard deviation of the paired differences, with Hedges' correction J(n − 1).

    (Hedges, Journal of Educational Statistics 1981.) None below three seeds, and for a difference without spread.
    """
    if gap.sd is None or gap.seeds < FEWEST_SEEDS:
        return None
    if gap.sd == 0:
        return 0.0 if gap.mean == 0 else None
    df = gap.seeds - 1
    correction = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return float(gap.mean / gap.sd * correction)


def superiority(gap: Difference) -> float | None:
    """The probability that a scores below b on one new seed: P(T < −mean / (sd·√(1 + 1/n))), T with n − 1 df.

    The predictive distribution of one more paired difference; None below three seeds.
    """
    if gap.sd is None or gap.seeds < FEWEST_SEEDS:
        return None
    if gap.sd == 0:
        return 0.5 if gap.mean == 0 else float(gap.mean < 0)
    return float(stdtr(gap.seeds - 1, -gap.mean / (gap.sd * math.sqrt(1 + 1 / gap.seeds))))
