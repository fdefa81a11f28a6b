"""`sampler=tpe`: tree-structured Parzen estimators (Bergstra et al., 2011; Optuna's default)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from nanochat.core.spec import Count
from nanochat.sampler.base import SamplerSpec, Space, seed_of


class TPESpec(SamplerSpec):
    """Densities of good and of bad trials; draws where their ratio is best. Running trials count as bad ones."""

    startup: Count
    candidates: Count

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        return TPESampler(
            seed=seed_of(seed, number),
            n_startup_trials=self.startup,
            n_ei_candidates=self.candidates,
        )
