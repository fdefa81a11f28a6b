"""What a scaling study has spent: a trial's cost is reserved when it begins, and what it did not use is given back.

FLOPs are those of the steps that a run trains, all of them where nobody saw how far it came. Seconds are measured,
start and scoring included; a run that is not done within what was reserved is stopped and counts in full, as does an
attempt whose end nobody saw.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nanochat.study.budget import Budget
from nanochat.study.design import HOUR, Unit
from nanochat.study.trial import Result, Trial

TOKENS = "stop.tokens"

# How much longer than expected a run may take, and seconds besides.
PATIENCE, SPARE_SECONDS = 1.5, 5.0

# A first grid is laid out for runs that take this much longer than measured: most of what is set aside comes back.
SLOWER = 1.15


def longest(expected: float) -> float:
    """The seconds that a run may take which is expected to take so many."""
    return PATIENCE * expected + SPARE_SECONDS


@dataclass(frozen=True)
class Cost:
    """flops: of the steps to train · seconds: the longest that the run may take; None where time is no matter."""

    flops: float
    seconds: float | None


def spent(trials: Iterable[Trial], unit: Unit) -> float:
    """What all trials came to, those that are open with all that is reserved for them."""
    return sum(charge(trial, unit) for trial in trials)


def charge(trial: Trial, unit: Unit) -> float:
    """What one trial came to, or may come to yet."""
    reserved = (trial.flops if unit == "flops" else trial.limit) or 0.0
    result = trial.result
    if unit == "seconds":
        if result is None or result["status"] == "timeout":
            return trial.seconds + reserved
        return trial.seconds + float(result.get("elapsed") or 0.0)
    return reserved if result is None else reserved * trained(result, begins=trial.begins, ends=trial.params[TOKENS])


def trained(result: Result, *, begins: int, ends: int) -> float:
    """The share of a run's own steps, from `begins` to `ends` tokens, that it trained: all where it is complete, or
    where nobody saw how far it came."""
    if result["status"] == "complete" or (result.get("tokens") is None and result.get("key")):
        return 1.0
    return min(1.0, max(0.0, ((result.get("tokens") or 0) - begins) / (ends - begins)))


def room(trials: Iterable[Trial], budget: Budget, unit: Unit) -> float | None:
    """What a budget still has for new trials; None where it has no cap in that unit."""
    most = cap(budget, unit)
    return None if most is None else most - spent(trials, unit)


def cap(budget: Budget, unit: Unit) -> float | None:
    """The most that a budget allows in that unit; None where it has no cap in it."""
    return budget.flops if unit == "flops" else None if budget.hours is None else budget.hours * HOUR


def affords(trials: Iterable[Trial], budget: Budget, cost: Cost) -> bool:
    """Whether there is room for one more trial."""
    trials = list(trials)
    flops, seconds = room(trials, budget, "flops"), room(trials, budget, "seconds")
    within_time = seconds is None or (cost.seconds is not None and cost.seconds <= seconds)
    return (flops is None or cost.flops <= flops) and within_time
