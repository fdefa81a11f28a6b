"""Several processes on one study at once: every trial is one worker's, and the table is the same."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nanochat.study.budget import Budget
from nanochat.study.lease import Leases
from nanochat.study.store import Store
from tests.study.definitions import definition, deserved, plans

TRIALS, WORKERS = 8, 3


def drain(folder: Path) -> list[int]:
    """Work until the study is done; returns the ids of the trials that were this worker's."""
    leases = Leases(folder / "workers", seconds=60.0)
    mine: list[int] = []
    with leases.held():
        store = Store(folder, definition(), leases=leases, plans=plans(definition()))
        store.grow(Budget(TRIALS))
        while not store.done():
            trial = store.claim()
            if trial is not None:
                result, values = deserved(trial)
                assert store.tell(trial, result, values=values)
                mine.append(trial.id)
    return mine


def table(folder: Path) -> list[tuple[Any, ...]]:
    leases = Leases(folder / "workers", seconds=60.0)
    store = Store(folder, definition(), leases=leases, plans=plans(definition()))
    return [(t.arm, t.phase, t.number, t.seed, t.params, t.result, t.score) for t in store.trials()]


def test_workers_share_a_study_without_taking_each_others_trials(tmp_path: Path) -> None:
    drain(tmp_path / "alone")
    pool = get_context("forkserver").Pool(WORKERS)
    shares = pool.map(drain, [tmp_path / "shared"] * WORKERS, chunksize=1)
    pool.close()  # not terminated: the fork server may be a study's, whose children leave SIGTERM to their parent
    pool.join()
    ids = [trial for share in shares for trial in share]
    assert len(ids) == len(set(ids))
    assert table(tmp_path / "shared") == table(tmp_path / "alone")
