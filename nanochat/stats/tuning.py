"""The noise of tuning: how far the best of n trials is from what another n would have given."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class TuningNoise:
    """The best and second of `trials` scores, and the mean and standard deviation of the best when drawn again."""

    best: float
    second: float
    trials: int
    expected: float
    sd: float


def best_of(scores: Float[np.ndarray, " trials"]) -> TuningNoise | None:
    """From the valid bits per byte of the complete tuning trials; None below two, NaN is left out.

    n trials drawn with replacement from the n seen have their minimum at the i-th smallest with probability
    ((n − i + 1)/n)ⁿ − ((n − i)/n)ⁿ (Dodge et al. 2019, "Show your work", arXiv:1909.03004, for the maximum). Exact
    for random search; a sampler that learns draws better than this.
    """
    ordered = np.sort(scores[np.isfinite(scores)])
    n = len(ordered)
    if n < 2:
        return None
    at_least = (np.arange(n, -1, -1) / n) ** n
    chance = at_least[:-1] - at_least[1:]
    expected = float(chance @ ordered)
    sd = math.sqrt(float(chance @ (ordered - expected) ** 2))
    return TuningNoise(best=float(ordered[0]), second=float(ordered[1]), trials=n, expected=expected, sd=sd)
