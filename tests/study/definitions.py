"""Small study definitions for tests, and a score that every run of them deserves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nanochat.core.compose import Interval
from nanochat.study.agenda import Plan
from nanochat.study.axes import Arm, Axis
from nanochat.study.definition import Definition
from nanochat.study.trial import Trial

PEAK = Axis("lr.peak", Interval(1e-4, 1e-1, log=True, integer=False))


def definition(
    *,
    arms: Sequence[str] = ("mla", "gqa"),
    tuned: Sequence[str] | None = None,
    seeds: Sequence[int] = (1, 2),
    lag: int = 2,
    sampler: dict[str, Any] | None = None,
    pruner: dict[str, Any] | None = None,
) -> Definition:
    """A study of `arms`, of which `tuned` (all, if None) search `lr.peak`."""
    tuned = arms if tuned is None else tuned
    return Definition(
        name="test",
        command=("attention=mla,gqa",),
        arms=tuple(Arm(name, (f"attention={name}",), (PEAK,) if name in tuned else ()) for name in arms),
        runs={name: {"attention": {"kind": name}, "lr": {"peak": 0.003}} for name in arms},
        first={name: {"lr.peak": 0.003} if name in tuned else {} for name in arms},
        seeds=tuple(seeds),
        tune_seed=0,
        seed=0,
        lag=lag,
        sampler=sampler or {"_target_": "nanochat.sampler.tpe.TPESpec", "startup": 10, "candidates": 24},
        pruner=pruner or {"_target_": "nanochat.pruner.none.NoneSpec"},
        objectives=("bpb",),
        device="cpu",
        threads=1,
    )


def deserved(trial: Trial) -> tuple[dict[str, Any], tuple[float, ...] | None]:
    """Result and values of a trial: a function of its arm, parameters and seed alone. High rates diverge."""
    peak = trial.params.get("lr.peak", 0.01)
    if peak > 0.05:
        return {"status": "diverged", "reason": "loss is nan"}, None
    score = (math.log10(peak) + 1.5) ** 2 + 0.01 * trial.seed + (trial.arm == "gqa")
    return {"status": "complete", "reason": "", "valid_bpb": score, "test_bpb": score}, (score,)


def plans(study: Definition) -> dict[str, Plan]:
    """Runs of 100 tokens and 1e6 FLOPs, the first validation after 10."""
    return {arm.name: Plan(tokens=100, first=10, flops=1e6) for arm in study.arms}
