"""Caps on trials, FLOPs and hours, kept to the trial: nothing begins that could exceed them.

The confirming runs have their share set aside from the beginning, so that tuning never eats what the answer needs.
Under a cap on FLOPs trials are counted in one fixed order, number by number and arm by arm, as planned (a pruned
trial gives nothing back): which trial is the last follows from the definition alone. Hours are measured, so a cap on
them ends two repetitions of a study in different places.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nanochat.core.errors import spec_error
from nanochat.study.book import Book
from nanochat.study.trial import Trial

HOUR = 3600.0


@dataclass(frozen=True)
class Budget:
    """trials: for each arm that has something to tune · flops: of all runs together · hours: of all runs together,
    so that two slots spend two in one by the clock."""

    trials: int = 0
    flops: float | None = None
    hours: float | None = None

    def data(self) -> dict[str, Any]:
        """As plain data, for the storage."""
        return asdict(self)


def check_flops(budget: Budget, first: Mapping[str, float], *, seeds: int) -> None:
    """Refuse a cap that the confirming runs alone exceed. `first`: FLOPs of a run of each arm."""
    least = seeds * sum(first.values())
    if budget.flops is not None and budget.flops < least:
        rule = f"the confirming runs alone take {least:.3e}"
        raise spec_error("study.flops", f"{budget.flops:.3e}", rule, "raise it, or ask for fewer seeds or tokens")


def flops_allow(
    book: Book,
    budget: Budget,
    *,
    arm: str,
    flops: float,
    first: Mapping[str, float],
    cost: Callable[[Trial], float],
    confirmed: float,
) -> bool:
    """Whether the next tuning trial, of `flops`, leaves enough for confirming the dearest trial of each arm.

    cost: FLOPs of a trial · confirmed: FLOPs of the confirming runs that an earlier budget has paid for; those to come
    may be others.
    """
    if budget.flops is None:
        return True
    dearest, spent = dict(first), confirmed + flops
    dearest[arm] = max(dearest[arm], flops)
    for name, trials in book.tuning.items():
        for trial in trials:
            spent += cost(trial)
            dearest[name] = max(dearest[name], cost(trial))
    return spent + len(book.definition.seeds) * sum(dearest.values()) <= budget.flops


def hours_allow(book: Book, budget: Budget, *, arm: str) -> bool:
    """Whether one more tuning trial of `arm`, and the confirming runs still to come, fit into what is left."""
    if budget.hours is None:
        return True
    seconds = {name: _mean_seconds(book, name) for name in book.tuning}
    known = [value for value in seconds.values() if value is not None]
    usual = sum(known) / len(known) if known else 0.0
    expected = {name: usual if value is None else value for name, value in seconds.items()}
    confirming = itertools.chain(*book.confirming.values())  # those of a best that was overtaken too
    spent = sum(_spent(trial.result) for trial in itertools.chain(*book.tuning.values(), confirming))
    running = sum(expected[trial.arm] for trial in book.open())
    ahead = sum(
        expected[name] for name in book.tuning for seed in book.definition.seeds if book.confirmed(name, seed) is None
    )
    return spent + running + ahead + expected[arm] <= budget.hours * HOUR


def _mean_seconds(book: Book, arm: str) -> float | None:
    taken = [_spent(t.result) for t in book.tuning[arm] if t.result is not None and t.result.get("seconds")]
    return sum(taken) / len(taken) if taken else None


def _spent(result: Mapping[str, Any] | None) -> float:
    return float((result or {}).get("seconds") or 0.0)
