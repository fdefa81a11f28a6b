"""Approach 2 of Hoffmann et al. (2203.15556, section 3.2): each budget's best size, and a line through them in logs.

Akima's interpolation through the points follows published exponents to about .004. The parabola over all points is the
custom, and is biased even without noise: the loss is not symmetric about its best size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.interpolate import Akima1DInterpolator

from nanochat.law.compute import SIX, Compute
from nanochat.law.hoffmann import Array
from nanochat.law.line import Line, line

Method = Literal["akima", "parabola"]
Refusal = Literal["few sizes", "scattered", "upside down", "edge"]

# Akima takes a slope on either side of each point.
FEWEST_SIZES = 4

# Runs of one budget differ by the rounding of steps and batches: by so much from one to the next in log C, and by five
# times that from first to last.
TOLERANCE, SPREAD = 0.03, 5

REASONS: Mapping[Refusal, str] = {
    "few sizes": f"it has fewer than {FEWEST_SIZES} sizes",
    "scattered": "its runs are of many amounts of compute, one close to the next",
    "upside down": "its parabola is upside down",
    "edge": "its best size is at an edge of the grid",
}


@dataclass(frozen=True)
class Minimum:
    """One budget's best size: compute in FLOPs (geometric mean of its runs), parameters, tokens, loss there."""

    compute: float
    params: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class Refused:
    """A budget that says nothing, and why."""

    compute: float
    reason: Refusal


@dataclass(frozen=True)
class IsoFlop:
    """minima: of the budgets that count, in order · refused: the others · params, tokens: lines of log N* and log D* on
    log C, None below two minima."""

    method: Method
    minima: tuple[Minimum, ...]
    refused: tuple[Refused, ...]
    params: Line | None
    tokens: Line | None

    @property
    def exponent(self) -> float | None:
        """a of N*(C) ∝ C^a."""
        return self.params.slope if self.params else None


def budgets(c: Float[ndarray, "runs"], *, tolerance: float = TOLERANCE) -> list[Bool[ndarray, "runs"]]:
    """Runs by budget, smallest first: a gap in log C above `tolerance` parts one budget from the next."""
    logs = np.log(c)
    order = np.argsort(logs, kind="stable")
    number = np.empty(len(c), dtype=int)
    number[order] = np.concatenate([[0], np.cumsum(np.diff(logs[order]) > tolerance)])
    return [number == i for i in range(number.max() + 1)]


def approach_2(
    n: Array,
    c: Float[ndarray, "runs"],
    loss: Array,
    *,
    method: Method = "akima",
    compute: Compute = SIX,
    groups: Sequence[Bool[ndarray, "runs"]] | None = None,
    weigh: Callable[[Minimum], float] = lambda _: 1.0,
) -> IsoFlop:
    """Each budget's minimum and the lines through them, a budget's weight in them by `weigh`.

    `groups`: which runs are of one budget, by default `budgets(c)`.
    """
    found = [
        minimum(n[rows], c[rows], loss[rows], method=method, compute=compute)
        for rows in (budgets(c) if groups is None else groups)
    ]
    minima = tuple(item for item in found if isinstance(item, Minimum))
    refused = tuple(item for item in found if isinstance(item, Refused))
    if len(minima) < 2:
        return IsoFlop(method, minima, refused, None, None)
    at, weights = np.array([m.compute for m in minima]), np.array([weigh(m) for m in minima])
    lines = (line(at, np.array([getattr(m, name) for m in minima]), weights=weights) for name in ("params", "tokens"))
    return IsoFlop(method, minima, refused, *lines)


def minimum(
    n: Array, c: Float[ndarray, "runs"], loss: Array, *, method: Method, compute: Compute = SIX
) -> Minimum | Refused:
    """The best size of one budget; runs of one size, or nearly, count by their mean loss: through two that hardly
    differ a curve would swing without end."""
    middle = float(np.exp(np.mean(np.log(c))))
    if np.ptp(np.log(c)) > SPREAD * TOLERANCE:
        return Refused(middle, "scattered")
    order = np.argsort(n, kind="stable")
    logs = np.log(n[order])
    first = np.flatnonzero(np.diff(logs, prepend=-np.inf) > TOLERANCE)
    count = np.diff(first, append=len(n))
    x, means = (np.add.reduceat(values, first) / count for values in (logs, loss[order]))
    if len(x) < FEWEST_SIZES:
        return Refused(middle, "few sizes")
    found = _akima(x, np.log(means)) if method == "akima" else _parabola(x, means)
    if isinstance(found, str):
        return Refused(middle, found)
    params = float(np.exp(found[0]))
    return Minimum(middle, params, middle / float(compute.per_token(params)), found[1])


def drawn(
    n: Array,
    c: Float[ndarray, "runs"],
    loss: Array,
    *,
    clusters: Sequence[object],
    count: int,
    seed: int,
    method: Method = "akima",
    compute: Compute = SIX,
) -> list[IsoFlop]:
    """Approach 2 on `count` tables of runs drawn with replacement within their budgets.

    Rows of one cluster in a budget stay together. Draws that leave fewer than two minima are not among the results.
    Intervals err on the wide side: on 60 simulated grids with .4% of noise 95% covered a in all (Akima) or 59 of them.
    """
    generator = np.random.default_rng(seed)
    groups = budgets(c)
    names = np.unique(np.array([str(name) for name in clusters]), return_inverse=True)[1]
    members = [[np.flatnonzero(rows & (names == name)) for name in np.unique(names[rows])] for rows in groups]
    found = []
    for _ in range(count):
        parts = [np.concatenate([runs[i] for i in generator.integers(len(runs), size=len(runs))]) for runs in members]
        table = np.concatenate(parts)
        number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        again = approach_2(
            n[table], c[table], loss[table],
            method=method, compute=compute, groups=[number == i for i in range(len(parts))],
        )  # fmt: skip
        if again.params:
            found.append(again)
    return found


def _akima(x: ndarray, y: ndarray) -> tuple[float, float] | Refusal:
    """The lowest of the curve: a knot, or where its slope is nought."""
    curve = Akima1DInterpolator(x, y)
    level = curve.derivative().roots(extrapolate=False)
    places = np.concatenate([x, level[np.isfinite(level)]])
    values = curve(places)
    best = int(np.argmin(values))
    if places[best] in (x[0], x[-1]):
        return "edge"
    return float(places[best]), float(np.exp(values[best]))


def _parabola(x: ndarray, y: ndarray) -> tuple[float, float] | Refusal:
    """The vertex of the least-squares parabola of loss in log N over all points, as is the custom."""
    middle = float(np.mean(x))
    square, slope, level = np.polyfit(x - middle, y, 2)
    if square <= 0:
        return "upside down"
    vertex = -slope / (2 * square)
    if not x[0] < vertex + middle < x[-1]:
        return "edge"
    return float(vertex + middle), float(level + slope * vertex / 2)
