"""The contract of a pruner: Optuna's own, asked after each report of a tuning trial."""

from __future__ import annotations

from abc import abstractmethod

from optuna.pruners import BasePruner

from nanochat.core.spec import Spec


class PrunerSpec(Spec):
    """Describes when a tuning trial is given up. Confirming runs and runs that feed a law never are.

    Its resources are training tokens, its values bits per byte on the valid split.
    """

    @abstractmethod
    def build(self, *, tokens: int, first: int) -> BasePruner | None:
        """The pruner for runs of `tokens` tokens that report after `first` tokens for the first time.

        None: nothing is ever given up.
        """
