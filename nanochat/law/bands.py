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
from nanochat.law.compute import GRID, NARROWINGS, SIX, WIDEST, Compute, frontier
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
    if isinstance(laws[0], Hoffmann) and compute == SIX:
        best = [[frontier(law, SIX, level) for level in c.tolist()] for law in laws if isinstance(law, Hoffmann)]
        return Shapes(*(np.array([[getattr(b, k) for b in row] for row in best]) for k in ("params", "tokens", "loss")))
    law = together(laws)
    cells = np.linspace(-1, 1, GRID)
    middle, half = np.tile(np.log(c / 6) / 2, (len(laws), 1)), WIDEST
    found = np.ones(middle.shape, dtype=bool)
    for step in range(NARROWINGS + 1):
        x = middle[..., None] + half * cells
        n = np.exp(x)
        with np.errstate(over="ignore", invalid="ignore"):
            loss = np.asarray(law.loss(n, c[:, None] / np.asarray(compute.per_token(n))))
        least = np.argmin(loss, axis=-1)
        if step == 0:
            found = (least > 0) & (least < GRID - 1)
        middle, half = np.take_along_axis(x, least[..., None], axis=-1)[..., 0], 2 * half / (GRID - 1)
    params = np.where(found, np.exp(middle), np.nan)
    tokens = c / np.asarray(compute.per_token(params))
    loss = np.asarray(law.loss(params[..., None], tokens[..., None]))[..., 0]
    return Shapes(params, tokens, loss)


def together(laws: Sequence[Law]) -> Any:
    """Laws of one form as one whose numbers are columns: it predicts for all of them."""
    names = laws[0].names()
    return type(laws[0])(*(np.array([getattr(law, name) for law in laws])[:, None, None] for name in names))


def told(value: float, drawn: Any, *, level: float = 0.95) -> Told:
    """A quantity with the percentiles of its values over laws fitted to runs drawn again, those without one left out;
    nan where none has one."""
    values = np.asarray(drawn, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Told(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Told(value, float(low), float(high))
