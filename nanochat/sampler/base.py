"""The contract of a sampler: Optuna's own, made anew for every suggestion so that nothing but the past decides it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from nanochat.core.spec import Spec, hash_of

Space = Mapping[str, BaseDistribution]


class SamplerSpec(Spec):
    """Describes how parameters are suggested inside an arm.

    replays: it keeps notes on trials and study as it goes; they come back by asking it again for every earlier trial ·
    several: it can minimise several objectives · fixed: its points are laid out beforehand, whatever the past says.
    """

    replays: ClassVar[bool] = False
    several: ClassVar[bool] = True
    fixed: ClassVar[bool] = False

    @abstractmethod
    def build(self, *, space: Space, seed: int, number: int) -> BaseSampler:
        """The sampler of suggestion `number` (from 0, without imported trials) in `space`.

        seed: the arm's own.
        """

    def check(self, space: Space, *, conditional: bool) -> None:
        """Refuse, before anything is spent, a space that this sampler cannot search (`SpecError`).

        conditional: some keys of the space exist only under others.
        """

    def most(self, space: Space) -> int | None:
        """How many suggestions there are in `space`; None where there is no end to them."""
        return None


def seed_of(*parts: Any) -> int:
    """A seed of 32 bits for these parts and no others."""
    return int(hash_of(list(parts), length=8), 16)
