"""Fitting any form of law: variable projection to begin with, then the Huber loss to the end.

Optimisers that never left their start are the classic mistake here (Besiroglu et al., 2404.10102): the fit works in
coordinates in which the numbers are nearly independent, from several starts, and says how many of them agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import nnls

from nanochat.law.certificate import Certificate, agreement, at_bounds, condition, cosine
from nanochat.law.form import Array, Columns, Frame, Law, Point, Points, Shapes, Values, predict
from nanochat.law.polish import Valley, polish

L = TypeVar("L", bound=Law)

# Of the log of a prediction: no step leads there, and its square is still a number.
FURTHEST = 300.0

# The widest δ to begin with, as a power of ten of the one asked for.
WIDEST = 8


@dataclass(frozen=True)
class Options:
    """delta: Huber's δ, in units of the residual; towards 0 the least absolute residuals, infinite the least squares ·
    on: residuals of the log of the loss, or of the loss itself · weights: of the rows (2 is the row twice)."""

    delta: float = 1e-3
    on: Literal["log", "raw"] = "log"
    weights: Array | None = None


@dataclass(frozen=True)
class Fit(Generic[L]):
    """objective: the sum of weighted Huber losses of the residuals, as published."""

    law: L
    objective: float
    certificate: Certificate


def fit(form: type[L], inputs: Mapping[str, Array], y: Array, *, options: Options | None = None) -> Fit[L]:
    """The law of a form that minimises Σ Huber_δ(residual), by the best of several starts."""
    problem = Problem.of(form, inputs, y, options=options or Options())
    starts = np.stack([problem.project(np.array(shape)) for shape in form.grid])
    points, values = problem.polish(starts)
    best = int(np.argmin(values))
    point = points[best]
    return Fit(
        law=form.at(point, problem.frame),
        objective=float(values[best]) * problem.unit**2,
        certificate=problem.certificate(point, points=points, best=best, start=starts[best]),
    )


def refit(inputs: Mapping[str, Array], y: Array, *, near: L, options: Options | None = None) -> L:
    """The law of other rows that are much like those of `near`, from there."""
    problem = Problem.of(type(near), inputs, y, options=options or Options())
    points, _ = problem.polish(near.point(problem.frame)[None])
    return type(near).at(points[0], problem.frame)


@dataclass(frozen=True)
class Problem(Generic[L]):
    """Rows in a form's frame. y: over its geometric mean · unit: of a residual, in the data's units."""

    form: type[L]
    frame: Frame
    y: Array
    weights: Array
    bounds: Float[ndarray, "numbers 2"]
    delta: float
    log: bool
    unit: float

    @classmethod
    def of(cls, form: type[L], inputs: Mapping[str, Array], y: Array, *, options: Options) -> Problem[L]:
        """Raises `ValueError` for a column that the form reads and `inputs` has not, and for a loss that is not above
        zero: tables are checked before (`nanochat.law.table`)."""
        if missing := [name for name in form.inputs if name not in inputs]:
            raise ValueError(f"{form.title} reads {', '.join(missing)}, and there is no such column")
        if not (np.all(np.isfinite(y)) and np.all(y > 0)):
            raise ValueError("every loss has to be above zero")
        frame = form.frame(inputs, y)
        log = options.on == "log"
        unit = 1.0 if log else frame.scale
        weights = np.ones_like(y) if options.weights is None else np.asarray(options.weights, float)
        scaled = y / frame.scale
        return cls(form, frame, scaled, weights, form.bounds(frame, scaled), options.delta / unit, log, unit)

    def project(self, shape: Shapes) -> Point:
        """The point of these shapes whose coefficients follow by least squares of relative residuals, non-negative
        where the bounds say so."""
        low, high = self.bounds.T
        count = len(low) - len(shape)
        columns, _ = self.form.columns(self.frame, np.ones(count), shape)
        target = self.form.unlink(self.y, shape)
        weight = self.form.link(target, shape)[1] * np.sqrt(self.weights)
        free = np.flatnonzero(low[:count] < 0)
        both = np.concatenate([columns, -columns[:, free]], axis=1)
        found, _ = nnls(both * weight[:, None], target * weight)
        found[free] -= found[count:]
        # A coefficient of nothing has no shape to follow: each begins with a little.
        start = np.where(low[:count] < 0, found[:count], np.maximum(found[:count], 1e-3))
        return np.clip(np.concatenate([start, shape]), low, high)

    def residuals(self, points: Points, y: Values | None = None) -> tuple[Values, Columns]:
        """Residuals, over the unit, and their Jacobian."""
        y = self.y if y is None else y
        log, jacobian = predict(self.form, self.frame, points)
        if self.log:
            return log - np.log(y), jacobian
        predicted = np.exp(np.minimum(log, FURTHEST))
        return predicted - y, predicted[..., None] * jacobian

    def valley(self, count: int, *, weights: Values | None = None, y: Values | None = None) -> Valley:
        """The same rows `count` times, each time with weights or losses of their own."""
        low, high = self.bounds.T
        weights = np.broadcast_to(self.weights, (count, len(self.y))) if weights is None else weights
        return Valley(
            residuals=lambda points, which: self.residuals(points, None if y is None else y[which]),
            weights=weights, delta=self.delta, low=low, high=high,
        )  # fmt: skip

    def polish(
        self, points: Points, *, weights: Values | None = None, y: Values | None = None
    ) -> tuple[Points, Float[ndarray, "many"]]:
        """Down from each point: by a wide δ first where δ is narrow for the residuals there, for among its many
        kinks a step gets nowhere."""
        valley = self.valley(len(points), weights=weights, y=y)
        size = float(np.nanmedian(np.abs(valley.residuals(points, np.arange(len(points)))[0])))
        wide = max(math.floor(math.log10(size / self.delta)), 0) if 0 < self.delta < math.inf and size > 0 else 0
        for power in range(min(wide, WIDEST), 0, -1):
            points, _ = polish(replace(valley, delta=self.delta * 10.0**power), points)
        return polish(valley, points)

    def certificate(self, point: Point, *, points: Points, best: int, start: Point) -> Certificate:
        low, high = self.bounds.T
        residual, jacobian = self.residuals(point)
        root = np.sqrt(self.weights)
        pull = root * np.clip(residual, -self.delta, self.delta)
        bounds = at_bounds(self.form.names(), point, low, high)
        free = np.array([name not in bounds for name in self.form.names()])
        shapes = self.form.shapes
        return Certificate(
            starts=len(points),
            agree=agreement(predict(self.form, self.frame, points)[0], best),
            gradient=cosine(pull, root[:, None] * jacobian, free),
            moved=float(np.max(np.abs(point[-shapes:] - start[-shapes:]))),
            bounds=bounds,
            condition=condition((root[:, None] * jacobian)[:, free]),
        )
