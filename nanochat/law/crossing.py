"""Where two laws cross: below some compute one is the better, above it the other.

Scaling changes which of two designs wins, and a comparison at one size cannot see it. Draws are paired where the runs
of both arms stand at the same places: the same runs are drawn for both, so that what moves both of them cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.approaches import Told
from nanochat.law.bands import shapes
from nanochat.law.compute import SIX, Compute
from nanochat.law.form import Law

# The range is looked through at so many levels; between two the logs are taken as straight.
LEVELS = 121


@dataclass(frozen=True)
class Arm:
    """A law, those of its runs drawn again, and what a token costs."""

    law: Law
    laws: Sequence[Law]
    compute: Compute = SIX


@dataclass(frozen=True)
class Crossing:
    """Where the best losses of A and B cross.

    compute: FLOPs, with the 95% interval over the draws that cross; None where the fits do not cross in the range ·
    share: of the draws that cross in it · more: whether the fits cross more than once (the largest is told) · first:
    "A" or "B", the better one below the crossing that is told, or in the whole range where there is none · wins:
    probability that A's loss at the target is lower · paired: whether each draw was of the same runs for both · low,
    high: of the range.
    """

    compute: Told | None
    share: float
    more: bool
    first: str
    wins: float
    paired: bool
    low: float
    high: float


def crossing(a: Arm, b: Arm, *, low: float, high: float, at: float, paired: bool) -> Crossing:
    """Between `low` and `high` FLOPs; `at`: the target.

    paired: whether the i-th draws of both are of the same runs, as the same seed, count and places make them
    (`same_draws`). Draws that are not are independent, and each meets one of the other's.
    """
    levels = np.geomspace(low, high, LEVELS)
    gaps = _gaps(a, b, levels)
    places = [_crossings(levels, gap) for gap in gaps]
    drawn = np.array([place[-1] for place in places[1:] if place])
    share = float(np.mean([bool(place) for place in places[1:]]))
    own = places[0]
    found = None
    if own:
        ends = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        found = Told(own[-1], float(ends[0]), float(ends[1]))
    target = _gaps(a, b, np.array([at]))[1:, 0]
    target = target[np.isfinite(target)]
    return Crossing(
        compute=found,
        share=share,
        more=len(own) > 1,
        first="A" if (gaps[0, -1] < 0) != bool(own) else "B",
        wins=float(np.mean((target < 0) + 0.5 * (target == 0))) if len(target) else float("nan"),
        paired=paired,
        low=low,
        high=high,
    )


def same_draws(
    one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]], *, within: float = 0.05
) -> bool:
    """Whether the clusters of two arms, in order, stand at the same places: parameters and tokens alike `within`.

    Draws of one seed then take the same clusters of both."""
    if len(one) != len(other):
        return False
    return bool(np.all(np.abs(np.log(np.array(one)) - np.log(np.array(other))) <= within))


def _gaps(a: Arm, b: Arm, levels: Float[ndarray, "levels"]) -> Float[ndarray, "draws levels"]:
    """log L of A less that of B, of the fits first, then of each draw."""
    count = min(len(a.laws), len(b.laws))
    best = [np.log(shapes([arm.law, *arm.laws[:count]], arm.compute, levels).loss) for arm in (a, b)]
    return best[0] - best[1]


def _crossings(levels: Float[ndarray, "levels"], gap: Float[ndarray, "levels"]) -> list[float]:
    """Where the gap changes its sign, in FLOPs, in order."""
    known = np.isfinite(gap[:-1]) & np.isfinite(gap[1:])
    places = np.flatnonzero(known & ((gap[:-1] < 0) != (gap[1:] < 0)))
    logs = np.log(levels)
    found = [logs[i] + (logs[i + 1] - logs[i]) * gap[i] / (gap[i] - gap[i + 1]) for i in places]
    return [float(np.exp(x)) for x in found]
