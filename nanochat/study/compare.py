"""`study=compare`: the Spec of a study, and the entry that works on one until its budget is met."""

from __future__ import annotations

from nanochat.core.spec import Count, Int, Positive, Spec


class CompareSpec(Spec):
    """Arms compared on shared seeds, each tuned first where there is something to tune."""

    name: str | None
    dir: str | None
    trials: Count
    extend: Int
    seed: Int
    tune_seed: Int
    lag: Count
    space: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    slots: Count | None
    lease_seconds: Positive
