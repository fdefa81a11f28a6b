"""The contract of a learning-rate schedule: a pure function of the step."""

from __future__ import annotations

from abc import abstractmethod

from nanochat.core.roles import Role
from nanochat.core.spec import Positive, Share, Spec


class FactorsSpec(Spec):
    """The rate of a group of parameters as a multiple of the schedule's; hidden are the matrices inside blocks."""

    embedding: Positive
    hidden: Positive
    head: Positive
    vector: Positive

    def of(self, role: Role) -> float:
        """The factor of a role: a residual projection is a hidden matrix, a filter a row of vectors."""
        return getattr(self, {"residual": "hidden", "filter": "vector"}.get(role, role))


class LRSpec(Spec):
    """A schedule with a linear warm-up to `peak` over the first `warmup` share of the run; `factors` by group."""

    peak: Positive
    warmup: Share
    factors: FactorsSpec

    def rate(self, step: int, *, steps: int) -> float:
        """The rate of optimizer step `step` (0 ≤ step < steps) in a run of `steps`.

        The warm-up's steps get 1/w, 2/w, …, w/w of the peak, so that no step has a rate of zero.
        """
        assert 0 <= step < steps
        warmup = round(self.warmup * steps)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        return self.peak * self.factor((step - warmup) / (steps - warmup))

    @abstractmethod
    def factor(self, progress: float) -> float:
        """The share of the peak at `progress` (0 ≤ progress < 1) of what follows the warm-up."""
