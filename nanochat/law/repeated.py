"""L = E + A/N^α + B/D′^β, D′ = U + U·R*·(1 − e^(−R/R*)): tokens seen again are worth ever less.

Muennighoff et al., 2305.16264, eq. 5: U unique tokens, R = D/U − 1 repetitions. N enters as it is; the paper also lets
parameters beyond what U can use decay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
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
    geometric_mean,
    powers,
)

# R*: the paper finds 15. Beyond a thousand repeating is as good as new; under a twentieth it is worth nothing.
R_BOUNDS = (0.05, 1000.0)


@dataclass(frozen=True)
class Repeated(Law):
    """Loss by parameters N, tokens D and unique tokens U ≤ D. In a frame its last shape is log R*."""

    title: ClassVar[str] = "data-constrained"
    equation: ClassVar[str] = "L = E + A/N^alpha + B/(U + U R* (1 - exp(-R/R*)))^beta, R = D/U - 1"
    source: ClassVar[str] = "Muennighoff et al., 2305.16264, eq. 5, parameters without decay"
    inputs: ClassVar[tuple[str, ...]] = ("n", "d", "unique")
    shapes: ClassVar[int] = 3
    grid: ClassVar[tuple[tuple[float, ...], ...]] = tuple(
        itertools.product((0.2, 0.5), (0.2, 0.5), (math.log(2), math.log(20)))
    )

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    R: float

    def loss(self, n: Array | float, d: Array | float, unique: Array | float) -> Array | float:
        """The loss of models of `n` parameters after `d` tokens, of which `unique` are different."""
        return self.E + self.A * np.power(n, -self.alpha) + self.B * np.power(self.worth(d, unique), -self.beta)

    def worth(self, d: Array | float, unique: Array | float) -> Array | float:
        """D′: how many new tokens would do as much."""
        unique = np.minimum(unique, d)
        return unique * (1 - self.R * np.expm1(-(d / unique - 1) / self.R))

    @classmethod
    def frame(cls, inputs: Mapping[str, Array], y: Array) -> Frame:
        """log N and log U about the means of log N and log D, and R."""
        n, d = np.log(inputs["n"]), inputs["d"]
        unique = np.minimum(inputs["unique"], d)
        centre = float(np.mean(n)), float(np.mean(np.log(d)))
        return Frame((n - centre[0], np.log(unique) - centre[1], d / unique - 1), centre, geometric_mean(y))

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        n, unique, again = frame.x
        star = np.exp(shape[..., 2, None])
        fade = np.exp(-again / star)
        gain = 1 + star * (1 - fade)
        d = unique + np.log(gain)
        by_n, by_d = powers(n, shape[..., 0]), np.exp(-shape[..., 1, None] * d)
        columns = np.stack([np.ones_like(by_n), by_n, by_d], axis=-1)
        by_beta = -coefficients[..., 2, None] * by_d
        by_star = by_beta * shape[..., 1, None] * (star * (1 - fade) - again * fade) / gain
        return columns, np.stack([-coefficients[..., 1, None] * n * by_n, by_beta * d, by_star], axis=-1)

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        coefficients = [(NOTHING, math.e * float(np.min(y))), (NOTHING, np.inf), (NOTHING, np.inf)]
        return np.array([*coefficients, (LOWEST, HIGHEST), (LOWEST, HIGHEST), np.log(R_BOUNDS)])

    def point(self, frame: Frame) -> Point:
        n, d = frame.centre
        a, b = self.A * math.exp(-self.alpha * n), self.B * math.exp(-self.beta * d)
        coefficients = [self.E / frame.scale, a / frame.scale, b / frame.scale]
        return np.array([*coefficients, self.alpha, self.beta, math.log(self.R)])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        e, a, b, alpha, beta, star = map(float, point)
        n, d = frame.centre
        A, B = a * frame.scale * exp(alpha * n), b * frame.scale * exp(beta * d)
        return cls(E=e * frame.scale, A=A, B=B, alpha=alpha, beta=beta, R=exp(star))
