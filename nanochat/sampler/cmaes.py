"""`sampler=cmaes`: covariance matrix adaptation (Hansen, 1604.00772), by the `cmaes` package."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler

from nanochat.core.errors import spec_error
from nanochat.core.spec import Count
from nanochat.sampler.base import SamplerSpec, Space, seed_of


class CmaEsSpec(SamplerSpec):
    """For many trials on real axes; what it cannot adapt, it draws at random."""

    replays = True
    several = False
    startup: Count
    population: Count | None

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        own = seed_of(seed, number)
        return CmaEsSampler(
            seed=own,
            n_startup_trials=self.startup,
            popsize=self.population,
            independent_sampler=RandomSampler(seed=own),
        )

    def check(self, space: Space, *, conditional: bool) -> None:
        real = [key for key, axis in space.items() if not isinstance(axis, CategoricalDistribution)]
        if conditional or len(real) < 2:
            rule = "adapts two or more ranges that every trial has"
            raise spec_error("sampler", "cmaes", rule, "use sampler=tpe, or search another range")
