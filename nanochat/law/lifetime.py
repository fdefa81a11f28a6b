"""The best shape where a model is also used: a smaller one, trained for longer, costs less over its life.

Sardana et al., 2401.00448, eq. 3: among the shapes that reach one loss, that with the fewest FLOPs of training and of
inference together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nanochat.law.compute import GRID, NARROWINGS, Compute, LossLaw, frontier
from nanochat.law.form import Array

# A forward pass is a third of a training step (Kaplan et al., 2001.08361, section 2.1).
FORWARD = 1 / 3

# Models down to e^-9 of the one that is best for training alone; tokens up to e^80.
SMALLER, MOST_TOKENS, HALVINGS = 9.0, 80.0, 60


@dataclass(frozen=True)
class Lifetime:
    """params, tokens: of the shape · loss: that it reaches · training, inference: FLOPs of each · alone: those of both
    with the shape that is best for training alone."""

    params: float
    tokens: float
    loss: float
    training: float
    inference: float
    alone: float

    @property
    def saved(self) -> float:
        """The share of all FLOPs that it saves."""
        return 1 - (self.training + self.inference) / self.alone


def lifetime(law: LossLaw, compute: Compute, c: float, *, tokens: float) -> Lifetime:
    """The cheapest shape that reaches the loss which `c` FLOPs of training buy, for `tokens` tokens of inference.

    Its training takes more than `c`. Raises ValueError for a law with no best size.
    """
    best = frontier(law, compute, c)
    middle, half = math.log(best.params) - SMALLER / 2, SMALLER / 2
    for _ in range(NARROWINGS + 1):
        n = np.exp(np.linspace(middle - half, middle + half, GRID))
        total = np.asarray(compute.per_token(n)) * (reaching(law, n, best.loss) + FORWARD * tokens)
        middle, half = float(np.log(n[np.argmin(total)])), 2 * half / (GRID - 1)
    params = math.exp(middle)
    trained, cost = float(reaching(law, np.array([params]), best.loss)[0]), float(compute.per_token(params))
    return Lifetime(
        params=params,
        tokens=trained,
        loss=best.loss,
        training=cost * trained,
        inference=FORWARD * cost * tokens,
        alone=c + FORWARD * float(compute.per_token(best.params)) * tokens,
    )


def reaching(law: LossLaw, n: Array, loss: float) -> Array:
    """The tokens with which models of `n` parameters reach a loss; infinite where no number of them is enough."""
    low, high = np.zeros_like(n), np.full_like(n, MOST_TOKENS)
    able = np.asarray(law.loss(n, np.exp(high))) <= loss
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = np.asarray(law.loss(n, np.exp(middle))) <= loss
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(able, np.exp(high), np.inf)
