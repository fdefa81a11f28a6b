"""Minimise Σ weight · Huber_δ(residual) for many points at once, by damped Gauss–Newton steps inside bounds.

Starts of one fit, resampled tables and points of a profile are all the same problem with other beginnings, weights or
losses: they go down together, each with its own damping. Where the Huber loss is quadratic the step is Newton's; the
damping is the curvature that reweighted least squares would give to the residuals outside δ, so a full damping is one
step of that sure but slow method, and none is the fast one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.form import Columns, Points, Values

# Residuals and their Jacobian at points; the second argument says which of the problems the points belong to.
Residuals = Callable[[Points, ndarray], tuple[Values, Columns]]

STEPS = 400
EASIER, HARDER, LEAST, MOST = 0.2, 5.0, 1e-9, 1e9
# Of the curvature itself, beside that of the reweighting: all there is where every residual lies inside δ.
SHARE = 1e-2


@dataclass(frozen=True)
class Valley:
    """residuals: at points · weights: of the rows of each problem · delta: Huber's, of each row · low, high: bounds."""

    residuals: Residuals
    weights: Float[ndarray, "many runs"]
    delta: Float[ndarray, "runs"] | float
    low: Float[ndarray, "numbers"]
    high: Float[ndarray, "numbers"]

    def objective(self, residual: Values, which: ndarray) -> Float[ndarray, "many"]:
        """The sum of Huber losses; infinite where the law predicts nothing."""
        size = np.abs(residual)
        inside = np.minimum(size, self.delta)
        total = np.sum(self.weights[which] * inside * (size - inside / 2), axis=-1)
        return np.where(np.isfinite(total), total, np.inf)

    def gradient(self, residual: Values, jacobian: Columns, which: ndarray) -> Points:
        pull = self.weights[which] * np.clip(residual, -self.delta, self.delta)
        return np.matmul(pull[:, None, :], jacobian)[:, 0]

    def free(self, points: Points, gradient: Points) -> ndarray:
        """Which coordinates are not held by a bound."""
        return ~(((points <= self.low) & (gradient > 0)) | ((points >= self.high) & (gradient < 0)))


def polish(valley: Valley, points: Points) -> tuple[Points, Float[ndarray, "many"]]:
    """The lowest point below each point, and the objective there."""
    points = np.clip(points, valley.low, valley.high)
    everyone = np.arange(len(points))
    residual, jacobian = valley.residuals(points, everyone)
    values = valley.objective(residual, everyone)
    damping = np.ones(len(points))
    going = everyone
    for _ in range(STEPS):
        step = _step(valley, points[going], residual[going], jacobian[going], damping[going], going)
        tried = np.clip(points[going] + step, valley.low, valley.high)
        moved = np.max(np.abs(tried - points[going]) / (1 + np.abs(points[going])), axis=-1)
        tried_residual, tried_jacobian = valley.residuals(tried, going)
        reached = valley.objective(tried_residual, going)
        better = reached < values[going]
        up, gain = going[better], values[going] - reached
        points[up], values[up] = tried[better], reached[better]
        residual[up], jacobian[up] = tried_residual[better], tried_jacobian[better]
        still = (moved < 1e-15) | (better & (gain <= 1e-15 * values[going]) & (damping[going] < 1e-3))
        damping[going] = np.clip(damping[going] * np.where(better, EASIER, HARDER), LEAST, None)
        going = going[~still & (damping[going] < MOST)]
        if not len(going):
            break
    return points, values


def _step(
    valley: Valley, points: Points, residual: Values, jacobian: Columns, damping: Float[ndarray, "many"], which: ndarray
) -> Points:
    weights, size = valley.weights[which], np.abs(residual)
    inside = size <= valley.delta
    outside = np.where(inside, 0.0, np.divide(valley.delta, size, where=~inside, out=np.zeros_like(size)))
    turned = jacobian.swapaxes(-1, -2)
    curvature = np.matmul(turned * (weights * (inside + damping[:, None] * outside))[:, None, :], jacobian)
    diagonal = np.matmul((weights * (inside + outside))[:, None, :], jacobian**2)[:, 0]
    gradient = valley.gradient(residual, jacobian, which)
    free = valley.free(points, gradient)
    unit = np.sqrt(np.where(free & (diagonal > 0), diagonal, 1.0))
    scaled = curvature / (unit[:, :, None] * unit[:, None, :])
    scaled = np.where(free[:, :, None] & free[:, None, :], scaled, 0.0)
    at = np.arange(points.shape[-1])
    scaled[:, at, at] += SHARE * damping[:, None] + 1e-14 + ~free
    step = np.linalg.solve(scaled, -(np.where(free, gradient, 0.0) / unit)[..., None])[..., 0]
    return step / unit
