"""`pruner=median`: give up what is worse than the median of earlier trials at the same point."""

from __future__ import annotations

from optuna.pruners import BasePruner, MedianPruner

from nanochat.core.spec import Count
from nanochat.pruner.base import PrunerSpec


class MedianSpec(PrunerSpec):
    """Compares a trial's best report with the others' at the same number of tokens, once `startup` are complete."""

    startup: Count
    tokens: Count | None

    def build(self, *, tokens: int, first: int) -> BasePruner:
        return MedianPruner(n_startup_trials=self.startup, n_warmup_steps=self.tokens or 0)
