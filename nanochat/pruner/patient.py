"""`pruner=patient`: give up what has not improved for a while."""

from __future__ import annotations

from typing import Annotated

from optuna.pruners import BasePruner, PatientPruner
from pydantic import Field

from nanochat.core.spec import Count
from nanochat.pruner.base import PrunerSpec


class PatientSpec(PrunerSpec):
    """After `patience` reports without an improvement of `delta` asks the pruner inside, or gives up if it is none."""

    patience: Count
    delta: Annotated[float, Field(ge=0)]
    inside: PrunerSpec

    def build(self, *, tokens: int, first: int) -> BasePruner:
        return PatientPruner(self.inside.build(tokens=tokens, first=first), self.patience, self.delta)
