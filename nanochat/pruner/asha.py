"""`pruner=asha`: asynchronous successive halving (Li et al., 1810.05934)."""

from __future__ import annotations

from typing import Annotated

from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from pydantic import Field

from nanochat.core.spec import Count, Int
from nanochat.pruner.base import PrunerSpec


class ASHASpec(PrunerSpec):
    """At `tokens`, `tokens`·`factor`, `tokens`·`factor`² … only the best 1/`factor` of those that came so far go on."""

    tokens: Count | None
    factor: Annotated[Int, Field(ge=2)]

    def build(self, *, tokens: int, first: int) -> BasePruner:
        return SuccessiveHalvingPruner(min_resource=self.tokens or first, reduction_factor=self.factor)
