"""Whether to believe a fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.form import Columns, Point

# Two starts agree where every prediction does.
SAME = 1e-6

# The largest condition that is told: a finite number, so that it can be written.
SINGULAR = 1e16


@dataclass(frozen=True)
class Certificate:
    """starts: how many were tried · agree: the share of them that came to the same predictions · gradient: at the end,
    the largest cosine between the residuals' pull and a coordinate that no bound holds · moved: how far the shapes are
    from the start that won · bounds: numbers that lie on a bound · condition: of the Gauss–Newton matrix, with
    coordinates scaled to the same effect on the predictions · ridge: numbers that the profile leaves open, or None
    where nobody asked."""

    starts: int
    agree: float
    gradient: float
    moved: float
    bounds: tuple[str, ...]
    condition: float
    ridge: tuple[str, ...] | None = None


def agreement(predictions: Float[ndarray, "starts runs"], best: int) -> float:
    """The share of starts whose predictions are those of the best."""
    apart = np.max(np.abs(predictions - predictions[best]), axis=1)
    return float(np.mean(apart < SAME))


def condition(jacobian: Columns) -> float:
    """Largest over smallest eigenvalue of JᵀJ with columns of length one; `SINGULAR` where no digit is left of one."""
    lengths = np.linalg.norm(jacobian, axis=0)
    if len(jacobian) < len(lengths) or not np.all(lengths > 0):
        return SINGULAR
    values = np.linalg.svd(jacobian / lengths, compute_uv=False)
    return min(float(values[0] / max(values[-1], 1e-30)) ** 2, SINGULAR)


def cosine(pull: Float[ndarray, "runs"], jacobian: Columns, free: ndarray) -> float:
    """The largest |cosine| between `pull` and a free column."""
    lengths = np.linalg.norm(jacobian, axis=0) * np.linalg.norm(pull)
    cosines = np.abs(pull @ jacobian) / np.where(lengths > 0, lengths, 1.0)
    return float(np.max(np.where(free, cosines, 0.0)))


def at_bounds(names: tuple[str, ...], point: Point, low: Point, high: Point) -> tuple[str, ...]:
    """The numbers that lie on a bound."""
    close = np.minimum(point - low, high - point) < 1e-9
    return tuple(name for name, on in zip(names, close, strict=True) if on)
