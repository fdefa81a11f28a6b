"""L(C) = E + A/C^γ: compute alone, for runs that each are the best of their budget (Henighan et al., 2010.14701)."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
    powers,
)


@dataclass(frozen=True)
class ComputeOnly(Law):
    """Loss by compute C in any unit."""

    title: ClassVar[str] = "compute alone"
    equation: ClassVar[str] = "L = E + A/C^gamma"
    source: ClassVar[str] = "Henighan et al., 2010.14701, eq. 1.1"
    inputs: ClassVar[tuple[str, ...]] = ("c",)
    shapes: ClassVar[int] = 1
    grid: ClassVar[tuple[tuple[float, ...], ...]] = ((0.03,), (0.1,), (0.2,), (0.5,))

    E: float
    A: float
    gamma: float

    def loss(self, c: Array | float) -> Array | float:
        """The loss that `c` buys."""
        return self.E + self.A * np.power(c, -self.gamma)

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        (c,) = frame.x
        power = powers(c, shape[..., 0])
        columns = np.stack([np.ones_like(power), power], axis=-1)
        return columns, (-coefficients[..., 1, None] * c * power)[..., None]

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        return np.array([(NOTHING, math.e * float(np.min(y))), (NOTHING, np.inf), (LOWEST, HIGHEST)])

    def point(self, frame: Frame) -> Point:
        (c,) = frame.centre
        return np.array([self.E / frame.scale, self.A * math.exp(-self.gamma * c) / frame.scale, self.gamma])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        e, a, gamma = map(float, point)
        (c,) = frame.centre
        return cls(E=e * frame.scale, A=a * frame.scale * exp(gamma * c), gamma=gamma)
