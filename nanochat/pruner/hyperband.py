"""`pruner=hyperband`: successive halving from several beginnings (Li et al., 1603.06560)."""

from __future__ import annotations

from typing import Annotated

from optuna.pruners import BasePruner, HyperbandPruner
from pydantic import Field

from nanochat.core.spec import Count, Int
from nanochat.pruner.base import PrunerSpec


class HyperbandSpec(PrunerSpec):
    """Brackets that halve from `tokens` on, from `tokens`·`factor` on, …; a trial's number decides its bracket."""

    tokens: Count | None
    factor: Annotated[Int, Field(ge=2)]

    def build(self, *, tokens: int, first: int) -> BasePruner:
        least = self.tokens or first
        return HyperbandPruner(min_resource=least, max_resource=max(least, tokens), reduction_factor=self.factor)
