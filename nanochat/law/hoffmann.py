"""L(N, D) = E + A/N^α + B/D^β (Hoffmann et al., 2203.15556, eq. 2)."""

from __future__ import annotations

import itertools
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
class Hoffmann(Law):
    """Loss in any unit, by parameters N and training tokens D; compute C = 6ND FLOPs."""

    title: ClassVar[str] = "Hoffmann"
    equation: ClassVar[str] = "L = E + A/N^alpha + B/D^beta"
    source: ClassVar[str] = "Hoffmann et al., 2203.15556, eq. 2"
    inputs: ClassVar[tuple[str, ...]] = ("n", "d")
    shapes: ClassVar[int] = 2
    grid: ClassVar[tuple[tuple[float, ...], ...]] = tuple(itertools.product((0.15, 0.35, 0.6), repeat=2))

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, n: Array | float, d: Array | float) -> Array | float:
        """The loss of models of `n` parameters after `d` tokens."""
        return self.E + self.A * np.power(n, -self.alpha) + self.B * np.power(d, -self.beta)

    @property
    def exponent(self) -> float:
        """a of N*(C) ∝ C^a."""
        return self.beta / (self.alpha + self.beta)

    def params(self, c: float) -> float:
        """N*(C): the parameters with the lowest loss at `c` FLOPs (eq. 4)."""
        ratio = math.log(self.alpha * self.A) - math.log(self.beta * self.B)
        return math.exp(ratio / (self.alpha + self.beta) + self.exponent * math.log(c / 6))

    def tokens(self, c: float) -> float:
        """D*(C)."""
        return c / 6 / self.params(c)

    def best(self, c: float) -> float:
        """L(N*(C), D*(C))."""
        return float(self.loss(self.params(c), self.tokens(c)))

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        n, d = frame.x
        by_n, by_d = powers(n, shape[..., 0]), powers(d, shape[..., 1])
        columns = np.stack([np.ones_like(by_n), by_n, by_d], axis=-1)
        slopes = [-coefficients[..., 1, None] * n * by_n, -coefficients[..., 2, None] * d * by_d]
        return columns, np.stack(slopes, axis=-1)

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        # The lowest loss has noise of its own: E may well be above it.
        floor = (NOTHING, math.e * float(np.min(y)))
        return np.array([floor, (NOTHING, np.inf), (NOTHING, np.inf), (LOWEST, HIGHEST), (LOWEST, HIGHEST)])

    def point(self, frame: Frame) -> Point:
        n, d = frame.centre
        a, b = self.A * math.exp(-self.alpha * n), self.B * math.exp(-self.beta * d)
        return np.array([self.E / frame.scale, a / frame.scale, b / frame.scale, self.alpha, self.beta])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        e, a, b, alpha, beta = map(float, point)
        n, d = frame.centre
        A, B = a * frame.scale * exp(alpha * n), b * frame.scale * exp(beta * d)
        return cls(E=e * frame.scale, A=A, B=B, alpha=alpha, beta=beta)
