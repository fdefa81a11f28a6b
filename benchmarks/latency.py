"""What asking for a trial and telling its end take at 100 and at 10,000 trials: the sampler's part, and ours."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from optuna.trial import TrialState, create_trial

from nanochat.study.budget import Budget
from nanochat.study.definition import Definition
from nanochat.study.lease import Leases
from nanochat.study.store import Store
from nanochat.study.suggest import Suggestions, distribution
from nanochat.study.watch import Watch
from tests.study.definitions import PEAK, definition, plans

SIZES = (100, 10_000)
WARM, PAIRS = 5, 30
SAMPLERS = {"tpe": {"_target_": "nanochat.sampler.tpe.TPESpec", "startup": 10, "candidates": 24}}
SAMPLERS["random"] = {"_target_": "nanochat.sampler.random.RandomSpec"}


def measure() -> dict[str, Any]:
    """Milliseconds of a worker for one claim and one tell (median of 30), the sampler's and ours, by trials."""
    found: dict[str, Any] = {}
    for name, sampler in SAMPLERS.items():
        ours = {}
        for size in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                study = definition(arms=["mla"], lag=8, sampler=sampler)
                figures = _pairs(Path(folder), study, size)
            found |= {f"{name}_{key}_{size}": round(value, 2) for key, value in figures.items()}
            ours[size] = figures["ours_ms"]
        found[f"{name}_ours_growth"] = round(ours[SIZES[1]] / ours[SIZES[0]], 2)
    return found


def _pairs(folder: Path, study: Definition, size: int) -> dict[str, float]:
    leases = Leases(folder / "workers", seconds=60.0)
    with leases.held():
        _fill(Store(folder, study, leases=leases, plans=plans(study)), size)
        began = time.perf_counter()
        store = Store(folder, study, leases=leases, plans=plans(study))
        store.grow(Budget(2 * size))
        _pair(store)
        opened = time.perf_counter() - began
        for _ in range(WARM):
            _pair(store)
        pairs = [_pair(store) for _ in range(PAIRS)]
    return {
        "ours_ms": 1000 * median(whole - asked for whole, asked in pairs),
        "sampler_ms": 1000 * median(asked for _, asked in pairs),
        "opening_s": opened,
    }


def _pair(store: Store) -> tuple[float, float]:
    """Seconds of a claim and a tell, and of them the sampler's."""
    asked, watch = 0.0, Watch("study", slots=[])
    ask = Suggestions._ask

    def timed(self: Suggestions, n: int) -> int:
        nonlocal asked
        began = time.perf_counter()
        try:
            return ask(self, n)
        finally:
            asked += time.perf_counter() - began

    Suggestions._ask = timed
    try:
        began = time.perf_counter()
        trial = store.claim()
        assert trial is not None
        store.tell(trial, {"status": "complete", "reason": ""}, values=(trial.params["lr.peak"],))
        watch.sync(store.trials(), store.total())  # as the worker does with every result
        watch.done()
        store.done()
        return time.perf_counter() - began, asked
    finally:
        Suggestions._ask = ask


def _fill(store: Store, size: int) -> None:
    """So many finished trials, each in one line."""
    study = store.storage.ids["mla"]
    attributes = {
        "phase": "tune",
        "arm": "mla",
        "seed": 0,
        "flops": 1e6,
        "owner": "",
        "lost": 0,
        "tries": 0,
        "micro": None,
    }
    with store.backend.exclusive():
        for number in range(size):
            peak = 10 ** (-4 + 3 * ((number * 0.618) % 1.0))
            frozen = create_trial(
                state=TrialState.COMPLETE,
                values=[peak],
                params={"lr.peak": peak},
                distributions={"lr.peak": distribution(PEAK)},
                user_attrs={**attributes, "number": number, "result": {"status": "complete", "reason": ""}},
            )
            store.storage.optuna.create_new_trial(study, template_trial=frozen)
