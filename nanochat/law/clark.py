"""log L = a·log N + b·log Ê + c·log N·log Ê + d: routed models (Clark et al., 2202.01169, eq. 1).

1/Ê = 1/(E − 1 + 1/(1/E_start − 1/E_max)) + 1/E_max: the first experts and the last bring less than their number.
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

from nanochat.law.form import Array, Coefficients, Columns, Frame, Law, Point, Shapes, Values, exp, geometric_mean


@dataclass(frozen=True)
class Clark(Law):
    """Loss by the parameters N of the dense model and the number of experts E (1: dense), after one number of tokens.

    In a frame its shapes are log E_start and log E_max/E_start.
    """

    title: ClassVar[str] = "routed"
    equation: ClassVar[str] = "log L = a log N + b log Ê + c log N log Ê + d, Ê from E_start to E_max"
    source: ClassVar[str] = "Clark et al., 2202.01169, eq. 1"
    inputs: ClassVar[tuple[str, ...]] = ("n", "experts")
    shapes: ClassVar[int] = 2
    grid: ClassVar[tuple[tuple[float, ...], ...]] = tuple(
        itertools.product((math.log(1.2), math.log(2), math.log(4)), (math.log(20), math.log(100), math.log(500)))
    )

    d: float
    a: float
    b: float
    c: float
    E_start: float
    E_max: float

    def loss(self, n: Array | float, experts: Array | float) -> Array | float:
        """The loss of models of `n` parameters with `experts` experts in each routed layer."""
        log_n, log_e = np.log(n), np.log(self.effective(experts))
        return np.exp(self.a * log_n + self.b * log_e + self.c * log_n * log_e + self.d)

    def effective(self, experts: Array | float) -> Array | float:
        """Ê: E_start for a dense model, E_max for any number of experts."""
        first = 1 / (1 / self.E_start - 1 / self.E_max)
        return 1 / (1 / (experts - 1 + first) + 1 / self.E_max)

    @classmethod
    def frame(cls, inputs: Mapping[str, Array], y: Array) -> Frame:
        """log N about its mean, and E − 1."""
        log = np.log(inputs["n"])
        centre = float(np.mean(log))
        return Frame((log - centre, inputs["experts"] - 1.0), (centre,), geometric_mean(y))

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        n, more = frame.x
        start, ratio = np.exp(shape[..., 0, None]), np.exp(shape[..., 1, None])
        first, most = start / (1 - 1 / ratio), start * ratio
        inverse = 1 / (more + first) + 1 / most
        log = -np.log(inverse)
        n = np.broadcast_to(n, log.shape)
        columns = np.stack([np.ones_like(log), n, log, n * log], axis=-1)
        by_log = coefficients[..., 2, None] + coefficients[..., 3, None] * n
        slope = first / (more + first) ** 2
        by_start, by_ratio = (slope + 1 / most) / inverse, (1 / most - slope / (ratio - 1)) / inverse
        return columns, np.stack([by_log * by_start, by_log * by_ratio], axis=-1)

    @classmethod
    def link(cls, u: Values, shape: Shapes) -> tuple[Values, Values, Columns | None]:
        return u, np.ones_like(u), None

    @classmethod
    def unlink(cls, y: Array, shape: Shapes) -> Array:
        return np.log(y)

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        free = [(-np.inf, np.inf)] * 4
        return np.array([*free, (math.log(0.2), math.log(50)), (math.log(1.5), math.log(1e5))])

    def point(self, frame: Frame) -> Point:
        (mean,) = frame.centre
        coefficients = self.d + self.a * mean - math.log(frame.scale), self.a, self.b + self.c * mean, self.c
        return np.array([*coefficients, math.log(self.E_start), math.log(self.E_max / self.E_start)])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        d, a, b, c, start, ratio = map(float, point)
        (mean,) = frame.centre
        d, b = d - a * mean + math.log(frame.scale), b - c * mean
        return cls(d=d, a=a, b=b, c=c, E_start=exp(start), E_max=exp(start + ratio))
