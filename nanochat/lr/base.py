"""The contract of a learning-rate schedule: a pure function of the step."""

from __future__ import annotations

from abc import abstractmethod

from nanochat.core.errors import spec_error
from nanochat.core.roles import Role
from nanochat.core.spec import Count, Positive, Share, Spec


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
    """A schedule with a linear warm-up to `peak`; `factors` by group.

    warmup: a share of the run (0.05; 1.0 is all of it), or a whole number of steps (20; 1 is one step), which is the
    same in runs of every length.
    """

    peak: Positive
    warmup: Share | Count
    factors: FactorsSpec

    def __eq__(self, other: object) -> bool:
        """As the JSON has it: one step is not the whole run, though 1 == 1.0."""
        return isinstance(other, LRSpec) and type(self.warmup) is type(other.warmup) and super().__eq__(other)

    def check(self, *, steps: int) -> None:
        """Raises `SpecError` where nothing of a run of `steps` is left after the warm-up."""
        if self.warmup < 1 or self.warmup_steps(steps) < steps:
            return
        rule = f"must be shorter than the run of {steps} step{'s' if steps > 1 else ''}"
        remedy = "1 would be one step, 0.05 a twentieth of the run"
        raise spec_error("warmup", self.warmup, rule, remedy if isinstance(self.warmup, float) else "try 0.05, a share")

    def warmup_steps(self, steps: int) -> int:
        """Optimizer steps of warm-up in a run of `steps`."""
        return self.warmup if isinstance(self.warmup, int) else round(self.warmup * steps)

    def decay_begins(self, steps: int) -> int | None:
        """The step before which a run of `steps` is the same as any longer one: until then the rate was constant after
        the warm-up. `steps` where it is so to the end; None for a schedule that has no such part."""
        return None

    def rate(self, step: int, *, steps: int) -> float:
        """The rate of optimizer step `step` (0 ≤ step < steps) in a run of `steps`.

        The warm-up's steps get 1/w, 2/w, …, w/w of the peak, so that no step has a rate of zero.
        """
        assert 0 <= step < steps
        warmup = self.warmup_steps(steps)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        return self.peak * self.factor((step - warmup) / (steps - warmup))

    @abstractmethod
    def factor(self, progress: float) -> float:
        """The share of the peak at `progress` (0 ≤ progress < 1) of what follows the warm-up."""
