"""The noise of a fit's rows, as the unit in which a rise of the objective is surprising."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nanochat.law.form import Array, Columns, Point

# The share of residuals inside δ is counted inside half a standard deviation where that is wider: a fit with a small δ
# goes through as many rows as it has numbers, which says nothing about the noise. (Coverage: tests/law/test_intervals.)
WIDTH = 0.5

# Rows beyond so many standard deviations hold the law by their side alone, not by where they lie.
OUTLIER = 2.0

# A cluster that the fit has to follow has no residual left; none counts as more than so much its own.
OWN = 0.95


def alike(residual: Array, weights: Array, *, delta: float, numbers: int) -> tuple[float, float]:
    """E ψ² / E ψ′ of Huber's ψ, which makes the objective a likelihood, and E ψ′: the share of residuals inside δ."""
    rows = float(weights.sum())
    spare = max(rows - numbers, 1.0)
    size = np.abs(residual)
    square = float(weights @ np.minimum(size, delta) ** 2) / spare
    width = max(delta, WIDTH * _deviation(size, weights) * rows / spare)
    if math.isinf(width):
        return square, 1.0
    share = max((float(weights @ (size <= width)) - numbers) / spare, 1 / (2 * spare)) * delta / width
    return square / share, share


def clustered(
    residual: Array, jacobian: Columns, weights: Array, *, delta: float, slope: Point, clusters: Sequence[object]
) -> float:
    """The same unit for a quantity with this slope, whose rows need be neither independent nor alike in noise.

    The sandwich variance over the likelihood's (Kent, 1982), by clusters, each freed of its own pull on the fit (CR3).
    """
    rows, size = float(weights.sum()), np.abs(residual)
    spare = max(rows - jacobian.shape[1], 1.0)
    _, share = alike(residual, weights, delta=delta, numbers=jacobian.shape[1])
    near = size <= max(delta, OUTLIER * _deviation(size, weights) * rows / spare)
    firm = weights * near * rows / float(weights @ near)
    inverse = np.linalg.pinv((jacobian.T * firm) @ jacobian, rcond=1e-12)
    towards, pull = weights * (jacobian @ inverse @ slope), np.clip(residual, -delta, delta)
    numbers, total = numbered(clusters), 0.0
    for own in (np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)):
        hat = (jacobian[own] @ inverse @ jacobian[own].T) * firm[own]
        most = float(np.max(np.abs(np.linalg.eigvals(hat))))
        freed = np.linalg.solve(np.eye(len(own)) - hat * min(1.0, OWN / max(most, OWN)), pull[own])
        total += float(towards[own] @ freed) ** 2
    return total / float(slope @ inverse @ slope) / share


def numbered(clusters: Sequence[object]) -> Int[ndarray, "runs"]:
    """0, 1, 2, … for each cluster in order of appearance."""
    names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    return np.array([names[name] for name in clusters])


def _deviation(size: Array, weights: Array) -> float:
    """The standard deviation that the median of |residuals| says."""
    order = np.argsort(size)
    summed = np.cumsum(weights[order])
    middle = [
        np.searchsorted(summed, summed[-1] / 2, side="left"),
        np.searchsorted(summed, summed[-1] / 2, side="right"),
    ]
    return 1.4826 * float(np.mean(size[order][np.minimum(middle, len(size) - 1)]))
