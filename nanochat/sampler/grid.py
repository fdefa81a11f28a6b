"""`sampler=grid`: every combination once, in an order that mixes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler

from nanochat.core.errors import spec_error
from nanochat.core.spec import Count
from nanochat.sampler.base import SamplerSpec, Space


class GridSpec(SamplerSpec):
    """All choices, all whole numbers, and `points` of each real range, its ends included."""

    fixed = True
    points: Count

    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        return _Numbered({key: self.values(axis) for key, axis in space.items()}, seed=seed, number=number)

    def check(self, space: Space, *, conditional: bool) -> None:
        if conditional:
            raise spec_error("sampler", "grid", "needs every axis in every trial", "use sampler=tpe or sampler=random")

    def most(self, space: Space) -> int | None:
        return math.prod(len(self.values(axis)) for axis in space.values())

    def values(self, axis: BaseDistribution) -> list[Any]:
        """What the grid tries on one axis."""
        if isinstance(axis, CategoricalDistribution):
            return list(axis.choices)
        low, high = getattr(axis, "low"), getattr(axis, "high")  # noqa: B009 - floats and ints both have them
        if isinstance(axis, IntDistribution):
            return list(range(low, high + 1))
        spaced = np.geomspace if getattr(axis, "log", False) else np.linspace
        return [float(value) for value in np.clip(spaced(low, high, self.points), low, high)]


class _Numbered(GridSampler):
    """Suggestion n is point n of the mixed grid, whatever else the study holds."""

    def __init__(self, grid: dict[str, list[Any]], *, seed: int, number: int) -> None:
        super().__init__(grid, seed=seed)
        self.number = number

    def before_trial(self, study: Any, trial: Any) -> None:
        study._storage.set_trial_system_attr(trial._trial_id, "grid_id", self.number)
