"""`sampler=nsga2`: a genetic algorithm for several objectives (Deb et al., 2002)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from nanochat.core.spec import Count
from nanochat.sampler.base import SamplerSpec, Space, seed_of


class NSGA2Spec(SamplerSpec):
    """Children of the best front; a generation of `population` trials after the other."""

    replays = True
    population: Count

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        return NSGAIISampler(seed=seed_of(seed, number), population_size=self.population)
