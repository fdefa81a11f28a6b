"""What a token costs by the number of parameters, and the best shape that an amount of compute buys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.core.errors import spec_error
from nanochat.law.hoffmann import Array, Hoffmann

# A quadratic takes this many sizes, a line two; one size tells only the factor.
SIZES_OF_QUADRATIC, SIZES_OF_LINE = 4, 2

# The search for N*: first over e^50 of sizes about C's middle, then each time over two cells of the last grid.
GRID, NARROWINGS, WIDEST = 65, 5, 25.0


class LossLaw(Protocol):
    """Whatever tells a loss from parameters and tokens."""

    def loss(self, n: Array | float, d: Array | float) -> Array | float: ...


@dataclass(frozen=True)
class Compute:
    """Training FLOPs per token: log f = Σ coefficients[i]·(log N − about)^i, a straight line outside low < N < high.

    Attention and head make FLOPs per token over N fall as N grows; far beyond the sizes that were seen a quadratic
    would bend without end, so it goes on along its tangent. residual: the largest |f̂/f − 1| over the runs it was
    fitted to.
    """

    coefficients: tuple[float, ...]
    about: float
    low: float
    high: float
    residual: float

    def per_token(self, n: Array | float) -> Array | float:
        """Training FLOPs of one token of a model of `n` parameters."""
        x = np.log(n) - self.about
        inside = np.clip(x, math.log(self.low) - self.about, math.log(self.high) - self.about)
        value, slope = 0.0, 0.0
        for coefficient in reversed(self.coefficients):
            slope = slope * inside + value
            value = value * inside + coefficient
        return np.exp(value + slope * (x - inside))

    def of(self, n: Array, d: Array) -> Array:
        """C of runs."""
        return np.asarray(self.per_token(n) * d)


# C = 6ND (Kaplan et al., 2001.08361, section 2.1).
SIX = Compute(coefficients=(math.log(6), 1.0), about=0.0, low=1.0, high=1.0, residual=0.0)


@dataclass(frozen=True)
class Best:
    """The best that an amount of compute buys: parameters, training tokens, loss."""

    params: float
    tokens: float
    loss: float

    @property
    def tokens_per_param(self) -> float:
        return self.tokens / self.params


def measured(n: Array, c: Float[ndarray, "runs"], d: Array) -> Compute:
    """The cost of a token as runs had it: C/D by N, least squares in logs; of a degree that the sizes allow.

    Raises `SpecError` where larger models cost no more.
    """
    x, y = np.log(n), np.log(c / d)
    about = float(np.mean(x))
    sizes = len(set(x.tolist()))
    degree = 2 if sizes >= SIZES_OF_QUADRATIC else 1
    low, high = float(np.min(n)), float(np.max(n))
    while degree:
        found = np.polynomial.polynomial.polyfit(x - about, y, degree) if sizes >= SIZES_OF_LINE else None
        coefficients = (float(np.mean(y)), 1.0) if found is None else tuple(map(float, found))
        ends = np.array([low, high])
        slopes = sum(i * k * (np.log(ends) - about) ** (i - 1) for i, k in enumerate(coefficients) if i)
        if np.min(slopes) > 0:
            bare = Compute(coefficients, about, low, high, residual=0.0)
            residual = float(np.max(np.abs(bare.of(n, d) / c - 1)))
            return Compute(coefficients, about, low, high, residual)
        degree -= 1
    raise spec_error("task.c", None, "does not grow with the parameters, by token", "is it the column of FLOPs?")


def frontier(law: LossLaw, compute: Compute, c: float) -> Best:
    """The lowest loss that `c` FLOPs buy: in closed form for Hoffmann with C = 6ND, else by a search over log N.

    Raises ValueError for a law with no best size within e^25 of the middle of C.
    """
    if isinstance(law, Hoffmann) and compute == SIX:
        return Best(law.params(c), law.tokens(c), law.best(c))
    middle, half = math.log(c / 6) / 2, WIDEST
    for step in range(NARROWINGS + 1):
        x = np.linspace(middle - half, middle + half, GRID)
        n = np.exp(x)
        least = int(np.argmin(np.asarray(law.loss(n, c / np.asarray(compute.per_token(n))))))
        if step == 0 and least in (0, GRID - 1):
            raise ValueError(f"the law has no best size at {c:.3g} FLOPs")
        middle, half = float(x[least]), float(x[1] - x[0])
    params = math.exp(middle)
    tokens = c / float(compute.per_token(params))
    return Best(params, tokens, float(law.loss(params, tokens)))
