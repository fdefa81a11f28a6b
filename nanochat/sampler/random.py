"""`sampler=random`: independent draws (Bergstra & Bengio, 2012)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, RandomSampler

from nanochat.sampler.base import SamplerSpec, Space, seed_of


class RandomSpec(SamplerSpec):
    """Uniform on every axis, on the log scale where the axis has one."""

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        return RandomSampler(seed=seed_of(seed, number))
