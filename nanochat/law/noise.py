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

# A cluster that the fit has to follow has no residual left; none counts as more than so much its own.
OWN = 0.95


def alike(residual: Array, weights: Array, *, delta: float, numbers: int) -> tuple[float, float]:
    """E ψ² / E ψ′ of Huber's ψ, which makes the objective a likelihood, and E ψ′: the share of residuals inside δ."""
    rows = float(weights.sum())
    spare = max(rows - numbers, 1.0)
    size = np.abs(residual)
    square = float(weights @ np.minimum(size, delta) ** 2) / spare
    deviation = 1.4826 * _median(size, weights) * rows / spare
    width = max(delta, WIDTH * deviation)
    if math.isinf(width):
        return square, 1.0
    share = max((float(weights @ (size <= width)) - numbers) / spare, 1 / (2 * spare)) * delta / width
    return square / share, share


def clustered(
    residual: Array, jacobian: Columns, weights: Array, *, delta: float, slope: Point, clusters: Sequence[object]
) -> float:
    """The same unit for a quantity with this slope whose rows need be neither independent nor alike in noise.

    The sandwich variance over the likelihood's (Kent, 1982), by clusters, each freed of its own pull on the fit (CR3).
    """
    _, share = alike(residual, weights, delta=delta, numbers=jacobian.shape[1])
    inverse = np.linalg.pinv((jacobian.T * weights) @ jacobian, rcond=1e-12)
    root = np.sqrt(weights)
    scaled = root[:, None] * jacobian
    towards, pull = scaled @ inverse @ slope, root * np.clip(residual, -delta, delta)
    numbers, total = numbered(clusters), 0.0
    for rows in (np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)):
        own, axes = np.linalg.eigh(scaled[rows] @ inverse @ scaled[rows].T)
        freed = (axes / (1 - np.minimum(own, OWN))) @ axes.T @ pull[rows]
        total += float(towards[rows] @ freed) ** 2
    return total / float(slope @ inverse @ slope) / share


def numbered(clusters: Sequence[object]) -> Int[ndarray, "runs"]:
    """0, 1, 2, … for each cluster in order of appearance."""
    names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    return np.array([names[name] for name in clusters])


def _median(values: Array, weights: Array) -> float:
    """The middle of weighted values."""
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    low, high = np.searchsorted(summed, summed[-1] / 2), np.searchsorted(summed, summed[-1] / 2, side="right")
    return float((values[order][low] + values[order][min(high, len(values) - 1)]) / 2)
