"""`sampler=qmc`: a low-discrepancy sequence (Sobol', 1967; Halton, 1960): random search without gaps."""

from __future__ import annotations

from typing import Any, Literal

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler

from nanochat.core.errors import spec_error
from nanochat.sampler.base import SamplerSpec, Space


class QMCSpec(SamplerSpec):
    """Point `n` of one sequence for each arm, shifted at random by the arm's seed."""

    replays = True
    sequence: Literal["sobol", "halton"]

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        return _Whole(space, qmc_type=self.sequence, seed=seed)

    def check(self, space: Space, *, conditional: bool) -> None:
        if conditional:
            raise spec_error("sampler", "qmc", "needs every axis in every trial", "use sampler=tpe or sampler=random")


class _Whole(QMCSampler):
    """Knows its space from the first trial on: Optuna's own draws at random until one has finished."""

    def __init__(self, space: Space, *, qmc_type: str, seed: int) -> None:
        super().__init__(qmc_type=qmc_type, scramble=True, seed=seed)
        self._space = dict(space)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return self._space
