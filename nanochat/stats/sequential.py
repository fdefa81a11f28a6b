"""Looking at a study at stated numbers of seeds, and stopping early, without more false findings.

The error α is spent over the looks by a function of the share of seeds seen (Lan and DeMets, Biometrika 1983). The
usual boundaries assume a known variance; at three to five seeds t is far from normal and they would err several times
too often, so these are found from the exact paths of the paired t statistic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri, stdtrit

from nanochat.stats import FEWEST_SEEDS

Spending = Literal["obrien_fleming", "pocock", "linear"]


def boundaries(
    looks: Sequence[int],
    *,
    alpha: float,
    spending: Spending = "obrien_fleming",
    simulations: int = 200_000,
    seed: int = 0,
) -> tuple[float, ...]:
    """The critical |t|, with n − 1 degrees of freedom, at each look, a number n of seeds.

    Without a difference, the chance that some look up to the k-th crosses is the α spent by then. The first look is
    exact, the others to about 0.2% of their level. Raises ValueError unless looks increase from at least three.
    """
    levels = _levels(tuple(looks), alpha, spending, simulations, seed)
    return tuple(float(-stdtrit(n - 1, level / 2)) for n, level in zip(looks, levels, strict=True))


def level_at(seeds: int, *, looks: Sequence[int], alpha: float, spending: Spending = "obrien_fleming") -> float:
    """The two-sided level of a single test with `seeds` seeds, so that all looks together err in at most `alpha`.

    Between two looks (a run is missing) the stricter of the two; outside them the nearest.
    """
    levels = _levels(tuple(looks), alpha, spending, 200_000, 0)
    if seeds in looks:
        return levels[looks.index(seeds)]
    after = sum(look < seeds for look in looks)
    return min(levels[max(0, after - 1) : after + 1])


def spent(fraction: float, *, alpha: float, spending: Spending) -> float:
    """The error spent once `fraction` of the seeds are in; all of `alpha` at one."""
    if spending == "obrien_fleming":
        return float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(fraction)))
    if spending == "pocock":
        return alpha * math.log(1 + (math.e - 1) * fraction)
    return alpha * fraction


@lru_cache(maxsize=256)
def _levels(looks: tuple[int, ...], alpha: float, spending: Spending, simulations: int, seed: int) -> tuple[float, ...]:
    """The two-sided level of each look's own test.

    A look that may spend ε, when all looks together may spend α so far, has a level between ε and α: between all of
    its crossings being new and all earlier ones being repeated. So only p values below α are drawn, evenly, with the
    paths that lead there; counting the paths that did not cross before, from the smallest p value on, gives the
    level at which the new crossings come to ε, as exactly for a small α as for a large one.
    """
    if not looks or looks[0] < FEWEST_SEEDS or any(b <= a for a, b in itertools.pairwise(looks)):
        raise ValueError(f"looks must increase from at least {FEWEST_SEEDS} seeds, not {list(looks)}")
    budget = [spent(n / looks[-1], alpha=alpha, spending=spending) for n in looks]
    random = np.random.default_rng(seed)
    levels = [budget[0]]
    for k in range(1, len(looks)):
        p = (np.arange(simulations) + 0.5) / simulations * budget[k]
        earlier = _earlier_t(-stdtrit(looks[k] - 1, p / 2), looks=looks[: k + 1], random=random)
        critical = [-stdtrit(n - 1, level / 2) for n, level in zip(looks, levels, strict=False)]
        new = (np.abs(earlier) < critical).all(axis=1)
        reached = np.searchsorted(np.cumsum(new) / simulations * budget[k], budget[k] - budget[k - 1])
        levels.append(float(p[min(reached, simulations - 1)]))
    return tuple(levels)


def _earlier_t(
    last: Float[np.ndarray, " paths"], *, looks: tuple[int, ...], random: np.random.Generator
) -> Float[np.ndarray, "paths earlier"]:
    """The t statistics at the earlier looks of random paths of normal values that end at t = `last` at the last look.

    Given its t, a normal sample's residuals, scaled to one standard deviation, are those of any other sample: draw
    sums and squares of each block of seeds, take off the mean, scale, and add the mean that gives the t wanted.
    """
    blocks = np.diff(looks, prepend=0)
    sums = random.standard_normal((len(last), len(looks))) * np.sqrt(blocks)
    within = 2 * random.standard_gamma((blocks - 1) / 2, size=sums.shape)
    totals, squares = np.cumsum(sums, axis=1), np.cumsum(within + sums**2 / blocks, axis=1)
    counts = np.array(looks, dtype=float)
    means = totals / counts
    variances = (squares - totals * means) / (counts - 1)
    scaled = (means - means[:, -1:]) / np.sqrt(variances[:, -1:]) + (last / math.sqrt(looks[-1]))[:, None]
    return (scaled / np.sqrt(variances / variances[:, -1:] / counts))[:, :-1]
