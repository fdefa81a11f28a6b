"""L(N, D) = E + A/N^α + B/D^β (Hoffmann et al., 2203.15556, eq. 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Array = Float[ndarray, "runs"]


@dataclass(frozen=True)
class Hoffmann:
    """Loss in any unit, by parameters N and training tokens D; compute C = 6ND FLOPs."""

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
