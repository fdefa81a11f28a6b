"""L(N, D) = [(Nc/N)^(αN/αD) + Dc/D]^αD (Kaplan et al., 2001.08361, eq. 1.5): no floor; for comparison with its time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.form import NOTHING, Array, Coefficients, Columns, Frame, Law, Point, Shapes, Values, exp, powers


@dataclass(frozen=True)
class Kaplan(Law):
    """Loss by parameters N (in the paper without embeddings) and tokens D. Its shapes in a frame are αN/αD and αD."""

    title: ClassVar[str] = "Kaplan"
    equation: ClassVar[str] = "L = [(Nc/N)^(alpha_n/alpha_d) + Dc/D]^alpha_d"
    source: ClassVar[str] = "Kaplan et al., 2001.08361, eq. 1.5"
    inputs: ClassVar[tuple[str, ...]] = ("n", "d")
    shapes: ClassVar[int] = 2
    grid: ClassVar[tuple[tuple[float, ...], ...]] = tuple(itertools.product((0.3, 0.7, 1.5), (0.05, 0.1, 0.3)))

    Nc: float
    Dc: float
    alpha_n: float
    alpha_d: float

    def loss(self, n: Array | float, d: Array | float) -> Array | float:
        """The loss of models of `n` parameters on `d` tokens."""
        return np.power(np.power(self.Nc / n, self.alpha_n / self.alpha_d) + self.Dc / d, self.alpha_d)

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        n, d = frame.x
        by_n = powers(n, shape[..., 0])
        columns = np.stack([by_n, np.broadcast_to(np.exp(-d), by_n.shape)], axis=-1)
        by_ratio = -coefficients[..., 0, None] * n * by_n
        return columns, np.stack([by_ratio, np.zeros_like(by_ratio)], axis=-1)

    @classmethod
    def link(cls, u: Values, shape: Shapes) -> tuple[Values, Values, Columns | None]:
        power = shape[..., 1, None]
        log = np.log(np.where(u > 0, u, np.nan))
        return power * log, power / u, np.stack([np.zeros_like(log), log], axis=-1)

    @classmethod
    def unlink(cls, y: Array, shape: Shapes) -> Array:
        return y ** (1 / shape[1])

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        return np.array([(NOTHING, np.inf), (NOTHING, np.inf), (0.02, 10.0), (0.005, 3.0)])

    def point(self, frame: Frame) -> Point:
        (n, d), unit = frame.centre, math.log(frame.scale) / self.alpha_d
        ratio = self.alpha_n / self.alpha_d
        by_n, by_d = ratio * (math.log(self.Nc) - n) - unit, math.log(self.Dc) - d - unit
        return np.array([math.exp(by_n), math.exp(by_d), ratio, self.alpha_d])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        by_n, by_d, ratio, power = map(float, point)
        (n, d), unit = frame.centre, math.log(frame.scale) / power
        Nc, Dc = exp((math.log(by_n) + unit) / ratio + n), exp(math.log(by_d) + unit + d)
        return cls(Nc=Nc, Dc=Dc, alpha_n=ratio * power, alpha_d=power)
