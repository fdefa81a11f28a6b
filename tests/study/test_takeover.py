"""A search that changes under the same name: what is taken over, what counts, what is confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage

from nanochat.core.compose import Interval
from nanochat.core.errors import SpecError
from nanochat.study import takeover
from nanochat.study.axes import Arm, Axis
from nanochat.study.budget import Budget
from nanochat.study.definition import Definition
from nanochat.study.join import join
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from tests.study import targets
from tests.study.definitions import definition, deserved
from tests.study.stores import end, finish, seen, working
from tests.study.studies import open_small, run_study

RANDOM = {"_target_": "nanochat.sampler.random.RandomSpec"}
GRID = {"_target_": "nanochat.sampler.grid.GridSpec", "points": 4}


def searched(*, low: float = 1e-3, high: float = 1e-1, **changes: Any) -> Definition:
    """One arm, its rate searched between `low` and `high`."""
    study = definition(arms=["mla"], sampler=RANDOM, seeds=(1, 2))
    arm = Arm("mla", ("attention=mla",), (Axis("lr.peak", Interval(low, high, log=True, integer=False)),))
    return replace(study, arms=(arm,), first={"mla": {}}, **changes)


def tuned(store: Store) -> list[tuple[int, float]]:
    return [(t.number, t.params["lr.peak"]) for t in store.trials() if t.phase == "tune"]


@pytest.mark.parametrize(
    "changed",
    [
        searched(low=1e-4),
        searched(sampler={"_target_": "nanochat.sampler.tpe.TPESpec", "startup": 4, "candidates": 8}),
        searched(lag=5),
        searched(seed=7),
        searched(pruner={"_target_": "nanochat.pruner.median.MedianSpec", "startup": 4, "tokens": None}),
    ],
    ids=["range", "sampler", "lag", "seed", "pruner"],
)
def test_another_search_takes_over_what_fits_and_counts_its_own(tmp_path: Path, changed: Definition) -> None:
    with working(tmp_path, searched(), budget=Budget(6)) as store:
        finish(store)
        before = tuned(store)
        assert store.done()
    with working(tmp_path, changed, budget=Budget(6)) as store:
        assert [number for number, _ in tuned(store)] == [-6, -5, -4, -3, -2, -1]
        assert [peak for _, peak in tuned(store)] == [peak for _, peak in before]
        assert store.total() == 6 + 6 + 2 and not store.done()
        claimed = finish(store)
        assert [t.number for t in claimed if t.phase == "tune"] == list(range(6))
        assert len(seen(store)) == store.total() and store.done()
    with working(tmp_path, changed, budget=Budget(6)) as store:
        assert store.done(), "opened again, nothing is taken over twice"
        assert store.total() == 14


def test_what_lies_outside_the_new_range_stays_behind(tmp_path: Path) -> None:
    with working(tmp_path, searched(), budget=Budget(8)) as store:
        finish(store)
        before = [peak for _, peak in tuned(store)]
    with working(tmp_path, searched(low=1e-3, high=1e-2), budget=Budget(1)) as store:
        inside = [peak for peak in before if peak <= 1e-2]
        assert 0 < len(inside) < len(before)
        assert [peak for _, peak in tuned(store)] == inside


def test_failures_are_taken_over_as_failures_and_open_trials_not_at_all(tmp_path: Path) -> None:
    def every_second(trial: Trial) -> Any:
        return ({"status": "oom", "reason": ""}, None) if trial.number % 2 else deserved(trial)

    with working(tmp_path, searched(), budget=Budget(8)) as store:
        for _ in range(4):
            trial = store.claim()
            assert trial is not None
            end(store, trial, every_second)
        assert store.claim() is not None, "one is left open"
        ends = [t.status for t in store.trials() if t.finished]
        assert ends == ["complete", "oom", "complete", "oom"]
    with working(tmp_path, searched(low=1e-4), budget=Budget(1)) as store:
        assert [t.status for t in store.trials()] == ends


def test_a_grid_takes_over_nothing(tmp_path: Path) -> None:
    with working(tmp_path, searched(), budget=Budget(6)) as store:
        finish(store)
    with working(tmp_path, searched(sampler=GRID), budget=Budget(6)) as store:
        assert tuned(store) == []
        assert store.total() == 4 + 2
        finish(store)
        assert [number for number, _ in tuned(store)] == [0, 1, 2, 3]


def test_the_best_of_all_searches_is_confirmed_and_a_known_confirmation_stands(tmp_path: Path) -> None:
    """A worse search changes nothing; a better one is confirmed anew."""
    with working(tmp_path, searched(), budget=Budget(6)) as store:
        finish(store, by(lambda peak: abs(math.log10(peak / 1e-2))))
        confirmed = [t for t in seen(store) if t[1] == "seed"]
    with working(tmp_path, searched(seed=3), budget=Budget(2)) as store:
        claimed = finish(store, by(lambda peak: 10.0 + peak))
        assert [t.phase for t in claimed] == ["tune"] * 6, "a budget never shrinks"
        assert [t for t in seen(store) if t[1] == "seed"] == confirmed
    with working(tmp_path, searched(seed=4), budget=Budget(2)) as store:
        claimed = finish(store, by(lambda peak: peak - 1.0))
        assert [t.phase for t in claimed] == ["tune"] * 6 + ["seed"] * 2
        best = min((t for t in claimed if t.phase == "tune"), key=lambda t: t.params["lr.peak"])
        assert [t[4] for t in seen(store) if t[1] == "seed"] == [best.params] * 2


def by(score: Callable[[float], float]) -> Any:
    def ending(trial: Trial) -> tuple[dict[str, Any], tuple[float, ...]]:
        return {"status": "complete", "reason": ""}, (score(trial.params["lr.peak"]),)

    return ending


@pytest.mark.parametrize("after", [0, 2])
def test_a_crash_in_the_middle_of_taking_over_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with working(tmp_path, searched(), budget=Budget(5)) as store:
        finish(store)
        before = [peak for _, peak in tuned(store)]
    copy, done = takeover._copy, []

    def crash(storage: BaseStorage, *args: Any, **given: Any) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(copy(storage, *args, **given))

    with monkeypatch.context() as patch:
        patch.setattr(takeover, "_copy", crash)
        with pytest.raises(KeyboardInterrupt), working(tmp_path, searched(low=1e-4)):
            pass
    with working(tmp_path, searched(low=1e-4), budget=Budget(3)) as store:
        assert tuned(store) == list(zip(range(-5, 0), before, strict=True))
        finish(store)
        table = seen(store)
    with working(tmp_path / "calm", searched(), budget=Budget(5)) as store:
        finish(store)
    with working(tmp_path / "calm", searched(low=1e-4), budget=Budget(3)) as store:
        finish(store)
        assert seen(store) == table, "as if it had not crashed"


def test_a_third_search_takes_over_from_both_and_copies_no_copies(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        with working(tmp_path, searched(seed=seed), budget=Budget(3)) as store:
            finish(store)
    with working(tmp_path, searched(seed=3), budget=Budget(1)) as store:
        peaks = [peak for _, peak in tuned(store)]
        assert len(peaks) == len(set(peaks)) == 9


def test_what_was_begun_again_is_taken_over_as_it_ended_last(tmp_path: Path) -> None:
    with working(tmp_path, searched(), budget=Budget(2)) as store:
        finish(store, lambda trial: ({"status": "failed", "reason": "broken"}, None))
        store.begin_again()
        finish(store)
        ends = [t.status for t in store.trials() if t.phase == "tune"]
        assert "failed" not in ends
    with working(tmp_path, searched(seed=1), budget=Budget(1)) as store:
        assert [t.status for t in store.trials() if t.phase == "tune"] == ends


def test_a_living_worker_with_another_search_is_not_crossed(tmp_path: Path) -> None:
    join(tmp_path, searched(), others=[])
    with pytest.raises(SpecError, match=r"study\.name=test: is being searched in another way by somebody") as error:
        join(tmp_path, searched(low=1e-4), others=["somebody"])
    assert "low: there 0.001, here 0.0001" in str(error.value)
    assert join(tmp_path, searched(), others=["somebody"]) == searched()
    assert join(tmp_path, searched(low=1e-4), others=[]) == searched(low=1e-4)


def test_from_the_command_line_results_are_reused_and_not_trained_again(tmp_path: Path) -> None:
    narrow, wide = "lr.peak=tag(log, interval(4e-3, 3e-2))", "lr.peak=tag(log, interval(3.9e-3, 3e-2))"
    typed = ("study.name=one", "seed=1,2", "study.trials=4", "sampler=random")
    first = run_study(tmp_path, *typed, narrow, target=targets.complete)
    runs = len({row["key"] for row in first.rows})
    assert begun(tmp_path) == runs
    second = run_study(tmp_path, *typed, wide, target=targets.complete)
    assert [row["number"] for row in second.rows if row["phase"] == "tune"] == [-4, -3, -2, -1, 0, 1, 2, 3]
    old = {row["key"] for row in first.rows}
    assert begun(tmp_path) == runs + len({row["key"] for row in second.rows} - old)
    assert second.study.folder == first.study.folder
    assert open_small(tmp_path, *typed, narrow).definition.searches() == first.study.definition.searches()


def begun(folder: Path) -> int:
    return sum(int(path.read_text()) for path in (folder / "multirun").glob("begun-*"))
