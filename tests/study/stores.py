"""Stores for tests: opened as one worker's, their trials ended by a script instead of training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nanochat.study.agenda import Plan
from nanochat.study.axes import Arm
from nanochat.study.budget import Budget
from nanochat.study.definition import Definition
from nanochat.study.lease import Leases
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from tests.study.definitions import deserved, plans

Ending = Callable[[Trial], tuple[dict[str, Any], tuple[float, ...] | None]]


@contextlib.contextmanager
def working(
    folder: Path,
    study: Definition,
    *,
    budget: Budget | None = None,
    flops: Callable[[Arm, Mapping[str, Any]], float] | None = None,
    known: Mapping[str, Plan] | None = None,
) -> Iterator[Store]:
    """A living worker's store, its budget set to `budget` if one is given."""
    leases = Leases(folder / "workers", seconds=60.0)
    with leases.held():
        store = Store(folder, study, leases=leases, plans=known or plans(study), flops=flops)
        if budget is not None:
            store.grow(budget)
        yield store


def end(store: Store, trial: Trial, ending: Ending = deserved) -> None:
    result, values = ending(trial)
    assert store.tell(trial, result, values=values)


def finish(store: Store, ending: Ending = deserved) -> list[Trial]:
    """Claim and end trials until there are none; returns those claimed."""
    claimed = []
    while trial := store.claim():
        claimed.append(trial)
        end(store, trial, ending)
    return claimed


def seen(store: Store) -> list[tuple[Any, ...]]:
    """All that counts in a study's table."""
    store.refresh()
    return [(t.arm, t.phase, t.number, t.seed, t.params, t.status, t.score) for t in store.trials()]
