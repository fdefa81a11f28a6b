"""Whether a difference between two arms changes with the size of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.paired import Difference, difference

TrendWord = Literal["grows", "shrinks", "turns", "steady", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The slope of a − b for each factor of ten in size, with its interval (None below three seeds), and the word."""

    slope: float
    low: float | None
    high: float | None
    word: TrendWord


def trend(
    differences: Sequence[Float[np.ndarray, " _"]],
    sizes: Sequence[float],
    *,
    comparisons: int = 1,
    confidence: float = 0.95,
    rope: float | None = None,
) -> Trend | None:
    """How a − b, one array over seeds for each scale (NaN: a missing run), goes with the scales' sizes.

    Where three seeds or more are complete at every scale, a paired t over the seeds' own least-squares slopes: valid
    however the scales are correlated. Else the slope through the scales' means, which counts the scales as
    independent. Sizes are plain numbers (of parameters, say). None for fewer than two scales with a difference;
    raises ValueError where sizes repeat.

    The words, each at the adjusted confidence:
    steady: over the whole range of sizes the difference changes by less than `rope` ·
    turns: one arm wins at the smallest size, the other at the largest, both decided ·
    grows: the slope is decided and so is, in its direction, the difference at the largest size ·
    shrinks: the slope is decided and so is, against its direction, the difference at the smallest size ·
    undecided: anything else.
    """
    scales = sorted(
        ((size, gaps) for size, gaps in zip(sizes, differences, strict=True) if np.isfinite(gaps).any()),
        key=lambda scale: scale[0],
    )
    if len({size for size, _ in scales}) < len(scales):
        raise ValueError(f"each scale needs a size of its own, not {list(sizes)}")
    if len(scales) < 2:
        return None
    x = np.log10([size for size, _ in scales])
    pull = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    alpha = (1 - confidence) / comparisons
    slope, low, high = _slope([gaps for _, gaps in scales], pull=pull, alpha=alpha)
    ends = [
        difference(gaps, np.zeros_like(gaps), comparisons=comparisons, confidence=confidence)
        for _, gaps in (scales[0], scales[-1])
    ]
    found = _word(low, high, first=_sign(ends[0]), last=_sign(ends[1]), bound=(rope or 0.0) / float(x[-1] - x[0]))
    return Trend(slope=slope, low=low, high=high, word=found)


def _slope(
    gaps: Sequence[np.ndarray], *, pull: Float[np.ndarray, " scales"], alpha: float
) -> tuple[float, float | None, float | None]:
    if len({len(scale) for scale in gaps}) == 1:
        slopes = pull @ np.stack(gaps)
        slopes = slopes[np.isfinite(slopes)]
        if len(slopes) >= FEWEST_SEEDS:
            own = difference(slopes, np.zeros_like(slopes), confidence=1 - alpha)
            return own.mean, own.low, own.high
    finite = [scale[np.isfinite(scale)] for scale in gaps]
    slope = float(pull @ [scale.mean() for scale in finite])
    counts = np.array([len(scale) for scale in finite])
    if counts.min() < FEWEST_SEEDS:
        return slope, None, None
    # The fewest degrees of freedom: Welch's would be too many for so few seeds.
    variance = float((pull**2 * [scale.var(ddof=1) for scale in finite] / counts).sum())
    half = float(-stdtrit(counts.min() - 1, alpha / 2)) * math.sqrt(variance)
    return slope, slope - half, slope + half


def _sign(gap: Difference) -> int:
    """−1, +1, or 0 while undecided."""
    return int(math.copysign(1, gap.mean)) if gap.excludes_zero else 0


def _word(low: float | None, high: float | None, *, first: int, last: int, bound: float) -> TrendWord:
    if low is not None and high is not None and bound and -bound <= low and high <= bound:
        return "steady"
    if first * last < 0:
        return "turns"
    if low is None or high is None or low <= 0 <= high:
        return "undecided"
    direction = 1 if low > 0 else -1
    if last == direction:
        return "grows"
    return "shrinks" if first == -direction else "undecided"
