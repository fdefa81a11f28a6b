"""`sampler=gp`: a Gaussian process and expected improvement (log EI of Ament et al., 2023; Optuna's own)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, GPSampler

from nanochat.core.spec import Count
from nanochat.sampler.base import SamplerSpec, Space, seed_of


class GPSpec(SamplerSpec):
    """The most careful choice for a few dozen trials in a few dimensions; its cost grows with the cube of trials."""

    startup: Count
    deterministic: bool

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        return GPSampler(
            seed=seed_of(seed, number),
            n_startup_trials=self.startup,
            deterministic_objective=self.deterministic,
        )
