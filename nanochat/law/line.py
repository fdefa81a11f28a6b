"""A power law y ∝ C^slope: a straight line through logs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class Line:
    """log y = intercept + slope · log C."""

    slope: float
    intercept: float

    def at(self, c: float) -> float:
        """y at `c` FLOPs."""
        return math.exp(self.intercept + self.slope * math.log(c))


def line(c: Float[ndarray, "points"], y: Float[ndarray, "points"], *, weights: Float[ndarray, "points"]) -> Line:
    """Weighted least squares of log y on log C; weights are of the squares, so 1/variance."""
    x = np.log(c)
    middle = float(np.average(x, weights=weights))
    slope, level = np.polyfit(x - middle, np.log(y), 1, w=np.sqrt(weights))
    return Line(float(slope), float(level - slope * middle))
