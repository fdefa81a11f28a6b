"""Singular values of a matrix, and how many directions it makes use of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """Singular values σ of a matrix, descending, as many as its shorter side; a matrix of zeros has no rank at all."""

    values: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: Float[Tensor, "out inputs"]) -> Spectrum:
        """In double precision, on the CPU."""
        return cls(torch.linalg.svdvals(matrix.detach().cpu().double()).numpy())

    @property
    def zero(self) -> bool:
        """Whether the matrix is zero, as one that starts at zero is before training."""
        return not self.values.any()

    @property
    def full(self) -> int:
        """The highest rank that the shape allows."""
        return len(self.values)

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of σ / Σσ (Roy & Vetterli 2007, "The effective rank", eqs. 2-4): n where n values are
        equal and the rest zero."""
        if self.zero:
            return 0.0
        p = self.values / self.values.sum()
        p = p[p > 0]
        return math.exp(float(-(p * np.log(p)).sum()))

    @property
    def stable_rank(self) -> float:
        """‖W‖_F² / ‖W‖₂²: never above the rank, and moved little by small values (Rudelson & Vershynin 2007)."""
        return 0.0 if self.zero else float((self.values**2).sum() / self.values[0] ** 2)

    def ranks_for(self, energy: float) -> float:
        """The share of the full rank that the best approximation needs to hold `energy` of ‖W‖_F²."""
        if self.zero:
            return 0.0
        held = np.cumsum(self.values**2)
        # Rounding may leave the last sum a hair below the total.
        needed = int(np.searchsorted(held, energy * held[-1] * (1 - 1e-12))) + 1
        return needed / self.full
