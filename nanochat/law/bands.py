"""The best shapes of many laws at many amounts of compute at once: what a frontier's band and its answers are made of.

`frontier` of one law takes a fraction of a millisecond; bands take thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.approaches import Told
from nanochat.law.compute import GRID, NARROWINGS, SIX, WIDEST, Compute
from nanochat.law.form import Law
from nanochat.law.hoffmann import Hoffmann

Table = Float[ndarray, "laws levels"]


@dataclass(frozen=True)
class Shapes:
    """The best parameters, tokens and loss of each law at each level; nan where a law has no best size."""

    params: Table
    tokens: Table
    loss: Table

    @property
    def whole(self) -> ndarray:
        """The laws that have a best size at every level."""
        return np.asarray(np.isfinite(self.params).all(axis=1))


def shapes(laws: Sequence[Law], compute: Compute, c: Float[ndarray, "levels"]) -> Shapes:
    """The frontier of each law of one form, a function of N and D, at `c` FLOPs."""
    found = [_of_one(law, compute, c) for law in laws]
    return Shapes(*(np.stack(tables) for tables in zip(*found, strict=True)))


def _of_one(law: Law, compute: Compute, c: Float[ndarray, "levels"]) -> tuple[ndarray, ndarray, ndarray]:
    """Parameters, tokens and loss, as `frontier` finds them, at all levels together."""
    if isinstance(law, Hoffmann) and compute == SIX:
        params = law.params(6.0) * np.power(c / 6, law.exponent)
        return params, c / 6 / params, np.asarray(law.loss(params, c / 6 / params))
    cells = np.linspace(-1, 1, GRID)
    middle, half = np.log(c / 6) / 2, WIDEST
    found = np.ones(len(c), dtype=bool)
    for step in range(NARROWINGS + 1):
        x = middle[:, None] + half * cells
        n = np.exp(x).ravel()
        loss = np.asarray(law.loss(n, np.repeat(c, GRID) / np.asarray(compute.per_token(n)))).reshape(x.shape)
        least = np.argmin(loss, axis=1)
        if step == 0:
            found = (least > 0) & (least < GRID - 1)
        middle, half = x[np.arange(len(c)), least], 2 * half / (GRID - 1)
    params = np.where(found, np.exp(middle), np.nan)
    tokens = c / np.asarray(compute.per_token(params))
    return params, tokens, np.asarray(law.loss(params, tokens))


def told(value: float, drawn: Any, *, level: float = 0.95) -> Told:
    """A quantity with the percentiles of its values over laws fitted to runs drawn again, those without one left out;
    nan where none has one."""
    values = np.asarray(drawn, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Told(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Told(value, float(low), float(high))
