"""L = L0 + A/S1^α − C·S2: the loss at any step, from the rates that led there (Tissue et al., 2408.11029, eq. 1).

S1 is the sum of the rates; S2, the annealing area, sums what the rate has lost, with a memory of 1/(1−λ) steps. One law
holds for one model and one family of schedules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.form import (
    HIGHEST,
    LOWEST,
    NOTHING,
    Array,
    Coefficients,
    Columns,
    Frame,
    Law,
    Point,
    Shapes,
    exp,
    geometric_mean,
    powers,
)

MEMORY = 0.999

Steps = Float[ndarray, "steps"]


def areas(rates: Steps, *, memory: float = MEMORY) -> tuple[Steps, Steps]:
    """S1 and S2 after each step of a schedule: S2ᵢ = Σ_{j≤i} Σ_{k≤j} (η_{k−1} − η_k)·λ^{j−k}, with η₀ = η₁.

    A rate that rises counts against S2: leave the warm-up out, or give it the peak rate as the paper does.
    """
    drops = -np.diff(rates, prepend=rates[:1])
    momentum = accumulate(drops.tolist(), lambda before, drop: memory * before + drop)
    return np.cumsum(rates), np.cumsum(np.fromiter(momentum, float, len(rates)))


@dataclass(frozen=True)
class Annealing(Law):
    """Loss by S1 and S2."""

    title: ClassVar[str] = "learning-rate annealing"
    equation: ClassVar[str] = "L = L0 + A/S1^alpha - C S2"
    source: ClassVar[str] = "Tissue et al., 2408.11029, eq. 1"
    inputs: ClassVar[tuple[str, ...]] = ("s1", "s2")
    shapes: ClassVar[int] = 1
    grid: ClassVar[tuple[tuple[float, ...], ...]] = ((0.1,), (0.3,), (0.6,), (1.2,))

    L0: float
    A: float
    C: float
    alpha: float

    def loss(self, s1: Array | float, s2: Array | float) -> Array | float:
        """The loss where the rates so far have these areas."""
        return self.L0 + self.A * np.power(s1, -self.alpha) - self.C * s2

    @classmethod
    def frame(cls, inputs: Mapping[str, Array], y: Array) -> Frame:
        """log S1 about its mean, and S2 over its largest size."""
        log, s2 = np.log(inputs["s1"]), inputs["s2"]
        centre = float(np.mean(log)), float(np.max(np.abs(s2))) or 1.0
        return Frame((log - centre[0], s2 / centre[1]), centre, geometric_mean(y))

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        s1, s2 = frame.x
        power = powers(s1, shape[..., 0])
        columns = np.stack([np.ones_like(power), power, np.broadcast_to(-s2, power.shape)], axis=-1)
        return columns, (-coefficients[..., 1, None] * s1 * power)[..., None]

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        return np.array([(NOTHING, np.inf)] * 3 + [(LOWEST, HIGHEST)])

    def point(self, frame: Frame) -> Point:
        s1, s2 = frame.centre
        coefficients = self.L0, self.A * math.exp(-self.alpha * s1), self.C * s2
        return np.array([*(each / frame.scale for each in coefficients), self.alpha])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        floor, a, c, alpha = map(float, point)
        (s1, s2), scale = frame.centre, frame.scale
        return cls(L0=floor * scale, A=a * scale * exp(alpha * s1), C=c * scale / s2, alpha=alpha)
