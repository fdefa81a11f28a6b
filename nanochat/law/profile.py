"""Intervals by profile likelihood: every value that a quantity may have while the law, refitted, still fits the rows.

Where the likelihood stays flat to the end nothing is known on that side, and the interval says that it is open. Without
clusters the rows are taken as independent, with noise alike. With clusters (the run of each row) they need be neither:
that is the one to use for checkpoints of one run, or where noise changes with size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import f as fisher

from nanochat.law.fit import Options, Problem
from nanochat.law.form import Array, Columns, Law, Point, Points, Values, exp
from nanochat.law.noise import alike, clustered
from nanochat.law.polish import Valley, polish

L = TypeVar("L", bound=Law)

# A value so many times larger or smaller, or so many standard errors away, is as good as any: the side is open.
FAR_LOG, FAR = math.log(1e6), 1e6

# How much stiffer than the likelihood a value is held; the most that it may give.
STIFF, GIVES = 1e3, 1e-2

# When an end is near enough: in roots of the rise, whose threshold is about two, or in standard errors.
CLOSE, BISECTIONS = 1e-4, 60


@dataclass(frozen=True)
class Profile:
    """low, high: the ends of the interval, None where that side is open."""

    low: float | None
    high: float | None

    @property
    def open(self) -> bool:
        """Whether the rows leave a side open."""
        return self.low is None or self.high is None


def profile(
    inputs: Mapping[str, Array],
    y: Array,
    *,
    near: L,
    value: Callable[[L], float],
    clusters: Sequence[object] | None = None,
    level: float = 0.95,
    options: Options | None = None,
) -> Profile:
    """The interval of a quantity of the law; `near` is the fitted law. Quantities above zero are moved in logs."""
    problem = Problem.of(type(near), inputs, y, options=options or Options())
    held = _Held(problem, near.point(problem.frame), value, clusters)
    threshold = float(fisher.ppf(level, 1, held.spare))
    low, high = (held.end(side, threshold=threshold) for side in (-1, 1))
    return Profile(low, high)


def p_value(
    inputs: Mapping[str, Array],
    y: Array,
    *,
    near: L,
    value: Callable[[L], float],
    at: float,
    clusters: Sequence[object] | None = None,
    options: Options | None = None,
) -> float:
    """How well the rows bear that a quantity is `at`: twice the rise of the objective over the noise is compared with
    F(1, rows or clusters − numbers). The values that an interval holds have more than 1 − level."""
    problem = Problem.of(type(near), inputs, y, options=options or Options())
    held = _Held(problem, near.point(problem.frame), value, clusters)
    target = math.log(at) if held.log else at
    return float(fisher.sf(held.rise(held.at(target, held.best)), 1, held.spare))


def ridge(inputs: Mapping[str, Array], y: Array, *, near: Law, options: Options | None = None) -> tuple[str, ...]:
    """The numbers of a law that the rows leave open, for its certificate."""

    def is_open(name: str) -> bool:
        return profile(inputs, y, near=near, value=lambda law: getattr(law, name), options=options).open

    return tuple(name for name in near.names() if is_open(name))


class _Held(Generic[L]):
    """The fit with one quantity held: a row of its own, stiff enough that the law gives way instead."""

    def __init__(
        self, problem: Problem[L], best: Point, value: Callable[[L], float], clusters: Sequence[object] | None
    ) -> None:
        self.problem, self.best, self.value = problem, best, value
        self.log = self.quantity(best, log=False) > 0
        self.centre = self.quantity(best)
        residual, jacobian = problem.residuals(best)
        self.lowest = self.objective(best)
        slope, weights, delta = self.slope(best), problem.weights, problem.delta
        unit, share = alike(residual, weights, delta=delta, numbers=len(best))
        inverse = np.linalg.pinv(share * (jacobian.T * weights) @ jacobian, rcond=1e-12)
        variance = max(float(slope @ inverse @ slope), 0.0)
        if clusters is not None and variance > 0:
            unit = clustered(residual, jacobian, weights, delta=delta, slope=slope, clusters=clusters)
        self.unit = max(unit, 1e-20)
        self.spare = max((weights.sum() if clusters is None else len(set(clusters))) - len(best), 1)
        error = math.sqrt(self.unit * variance)
        self.error = min(max(error, 1e-9), 1.0 if self.log else max(1.0, abs(self.centre)))

    def quantity(self, point: Point, *, log: bool | None = None) -> float:
        """The quantity at a point, as it is moved; nan where it has none."""
        try:
            told = float(self.value(self.problem.form.at(point, self.problem.frame)))
            return math.log(told) if (self.log if log is None else log) else told
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.nan

    def slope(self, point: Point) -> Point:
        """Its derivative by the coordinates, by differences."""
        low, here = self.problem.bounds[:, 0], self.quantity(point)
        steps = 1e-7 * np.maximum(np.abs(point), np.where(low < 0, 1e-3, 0.0))
        return np.array([(self.quantity(point + h) - here) / h.sum() for h in np.diag(steps)])

    def objective(self, point: Point) -> float:
        residual, _ = self.problem.residuals(point)
        return float(self.problem.valley(1).objective(residual[None], np.array([0]))[0])

    def rise(self, point: Point) -> float:
        """Twice how far the objective lies above its lowest, in units of the noise."""
        return max(2 * (self.objective(point) - self.lowest) / self.unit, 0.0)

    def at(self, target: float, start: Point) -> Point:
        """The best point whose quantity is `target`."""
        stiff = STIFF * math.sqrt(self.unit) / self.error

        def residuals(points: Points, _: ndarray) -> tuple[Values, Columns]:
            residual, jacobian = self.problem.residuals(points)
            off = np.array([[stiff * (self.quantity(point) - target)] for point in points])
            slopes = np.array([[stiff * self.slope(point)] for point in points]).reshape(len(points), 1, -1)
            return np.concatenate([residual, off], axis=1), np.concatenate([jacobian, slopes], axis=1)

        low, high = self.problem.bounds.T
        delta: Float[ndarray, "runs"] = np.append(np.full(len(self.problem.y), self.problem.delta), np.inf)
        weights = np.append(self.problem.weights, 1.0)[None]
        return polish(Valley(residuals, weights, delta, low, high), start[None])[0][0]

    def end(self, side: int, *, threshold: float) -> float | None:
        """Where the likelihood has fallen to the threshold; None where it does not."""
        start, root = self.best, math.sqrt(threshold)
        inner, inner_excess, outer = 0.0, -root, self.error
        while True:
            start = self.at(self.centre + side * outer, start)
            outer_excess = math.sqrt(self.rise(start)) - root
            if outer_excess >= 0:
                break
            gives = abs(self.quantity(start) - self.centre - side * outer)
            if not gives < GIVES * outer or outer > (FAR_LOG if self.log else FAR * self.error):
                return None
            inner, inner_excess, outer = outer, outer_excess, 2 * outer
        for _ in range(BISECTIONS):
            # The root of the rise is nearly a line: its crossing, kept off the ends.
            share = min(max(inner_excess / (inner_excess - outer_excess), 0.05), 0.95)
            middle = inner + share * (outer - inner)
            start = self.at(self.centre + side * middle, start)
            excess = math.sqrt(self.rise(start)) - root
            if excess < 0:
                inner, inner_excess = middle, excess
            else:
                outer, outer_excess = middle, excess
            if abs(excess) < CLOSE or outer - inner < CLOSE * self.error:
                break
        end = self.centre + side * (inner if -inner_excess < outer_excess else outer)
        return exp(end) if self.log else end
