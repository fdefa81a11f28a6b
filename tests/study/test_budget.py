"""Budgets: how many trials a study has, and caps on FLOPs and hours that are kept to the trial."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.core.compose import Choice, Interval
from nanochat.core.errors import SpecError
from nanochat.study.agenda import Plan
from nanochat.study.axes import Arm, Axis
from nanochat.study.budget import HOUR, Budget
from nanochat.study.definition import Definition
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from tests.study.definitions import definition
from tests.study.stores import finish, seen, working
from tests.study.studies import open_small

RANDOM = {"_target_": "nanochat.sampler.random.RandomSpec"}
GRID = {"_target_": "nanochat.sampler.grid.GridSpec", "points": 3}
DEPTH = Axis("depth", Interval(1, 4, log=False, integer=True))
SEEDS = (1, 2)


def deep(*, lag: int = 2, sampler: dict[str, Any] = RANDOM) -> Definition:
    """Two arms whose runs cost what their depth says, one untuned."""
    study = definition(arms=["a", "b", "c"], seeds=SEEDS, lag=lag, sampler=sampler)
    arms = (Arm("a", ("x=a",), (DEPTH,)), Arm("b", ("x=b",), (DEPTH,)), Arm("c", ("x=c",), ()))
    return replace(study, arms=arms, first={"a": {"depth": 1}, "b": {"depth": 1}, "c": {}})


def cost(arm: Arm, params: Mapping[str, Any]) -> float:
    return {"a": 1.0, "b": 10.0, "c": 5.0}[arm.name] * params.get("depth", 1)


PLANS = {name: Plan(tokens=100, first=10, flops=flops) for name, flops in (("a", 1.0), ("b", 10.0), ("c", 5.0))}


def deeper_is_better(trial: Trial) -> tuple[dict[str, Any], tuple[float, ...]]:
    return {"status": "complete", "reason": "", "seconds": 1.0}, (10.0 - trial.params.get("depth", 1),)


def spent(trials: Sequence[Trial]) -> float:
    return sum(cost(Arm(trial.arm, (), ()), trial.params) for trial in trials)


def raced(folder: Path, study: Definition, budget: Budget, *, seed: int) -> list[tuple[Any, ...]]:
    """Two workers, trials ending in a random order."""
    chance = random.Random(seed)
    with (
        working(folder, study, budget=budget, flops=cost, known=PLANS) as one,
        working(folder, study, flops=cost, known=PLANS) as two,
    ):
        held: list[tuple[Store, Trial]] = []
        while True:
            store = chance.choice((one, two))
            store.refresh()
            trial = store.claim() if len(held) < 4 and chance.random() < 0.6 else None
            if trial is not None:
                held.append((store, trial))
            elif held:
                owner, ended = held.pop(chance.randrange(len(held)))
                result, values = deeper_is_better(ended)
                assert owner.tell(ended, result, values=values)
            elif one.done():
                return seen(one)


@given(st.floats(32, 400), st.integers(0, 99))
@settings(max_examples=12)
def test_a_cap_on_flops_is_never_exceeded_in_whatever_order_trials_end(cap: float, seed: int) -> None:
    budget = Budget(6, flops=cap)
    with tempfile.TemporaryDirectory() as name:
        with working(Path(name) / "calm", deep(), budget=budget, flops=cost, known=PLANS) as store:
            claimed = finish(store, deeper_is_better)
            assert store.done()
            expected = seen(store)
        assert spent(claimed) <= cap
        assert raced(Path(name) / "raced", deep(), budget, seed=seed) == expected
        assert sum(row[1] == "seed" for row in expected) == 6, "all that can be confirmed is"


@pytest.mark.parametrize("cap", [60, 100, 150, 340])
def test_more_flops_later_go_on_and_do_not_exceed_the_larger_cap(tmp_path: Path, cap: float) -> None:
    """Although what was confirmed before may be overtaken, and something else confirmed besides."""
    with working(tmp_path, deep(), budget=Budget(20, flops=cap), flops=cost, known=PLANS) as store:
        claimed = finish(store, deeper_is_better)
        assert store.done() and store.total() == len(store.trials())
    with working(tmp_path, deep(), budget=Budget(20, flops=cap), flops=cost, known=PLANS) as store:
        assert store.done(), "the same cap again begins nothing"
    with working(tmp_path, deep(), budget=Budget(40, flops=cap + 200), flops=cost, known=PLANS) as store:
        assert not store.done()
        more = finish(store, deeper_is_better)
        assert store.done()
        assert sum(t.phase == "tune" for t in more) > 0
        assert spent([*claimed, *more]) <= cap + 200


@pytest.mark.parametrize("extra", [50, 100, 350])
def test_a_cap_that_comes_later_counts_what_was_begun_without_one(tmp_path: Path, extra: float) -> None:
    with working(tmp_path, deep(), budget=Budget(4), flops=cost, known=PLANS) as store:
        claimed = finish(store, deeper_is_better)
    cap = spent(claimed) + extra
    with working(tmp_path, deep(), budget=Budget(99, flops=cap), flops=cost, known=PLANS) as store:
        more = finish(store, deeper_is_better)
        assert store.done()
        assert spent([*claimed, *more]) <= cap
    assert more or extra < 200


def test_a_cap_that_the_confirming_runs_exceed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"(?s)study\.flops=1\.000e\+06: the confirming runs alone take .*raise it"):
        open_small(tmp_path, "attention=mla,gqa", "seed=1,2", "study.flops=1e6")
    assert open_small(tmp_path, "attention=mla,gqa", "seed=1,2", "study.flops=1e12").spec.flops == 1e12


def test_a_cap_on_hours_ends_tuning_and_all_is_confirmed(tmp_path: Path) -> None:
    def slow(trial: Trial) -> tuple[dict[str, Any], tuple[float, ...]]:
        result, values = deeper_is_better(trial)
        return {**result, "seconds": 0.1 * HOUR}, values

    with working(tmp_path, deep(), budget=Budget(50, hours=2.0), known=PLANS) as store:
        claimed = finish(store, slow)
        assert store.done()
        assert sum(t.phase == "seed" for t in claimed) == 6
        assert 10 <= len(claimed) <= 20, "of 0.1 h each, 2 h hold 20"
    with working(tmp_path, deep(), budget=Budget(50, hours=2.5), known=PLANS) as store:
        more = finish(store, slow)
        assert 0 < sum(t.phase == "tune" for t in more) <= 5
        assert store.done()


def test_failed_runs_spend_their_hours(tmp_path: Path) -> None:
    def broken(trial: Trial) -> tuple[dict[str, Any], None]:
        return {"status": "failed", "reason": "", "seconds": 0.5 * HOUR}, None

    with working(tmp_path, deep(), budget=Budget(50, hours=2.0), known=PLANS) as store:
        claimed = finish(store, broken)
        assert store.done() and len(claimed) < 10


def test_the_total_is_what_there_is_when_the_study_is_done(tmp_path: Path) -> None:
    study = deep()
    with working(tmp_path, study, budget=Budget(3), known=PLANS) as store:
        assert store.total() == 2 * 3 + 3 * 2
        assert not store.done()
        finish(store, deeper_is_better)
        assert store.done() and len(store.trials()) == store.total()
        store.grow(Budget(5))
        assert store.total() == 2 * 5 + 3 * 2 and not store.done()
        store.grow(Budget(1))
        assert store.total() == 2 * 5 + 3 * 2
        finish(store, deeper_is_better)
        assert store.done()


def test_a_grid_has_its_own_end(tmp_path: Path) -> None:
    with working(tmp_path, deep(sampler=GRID), budget=Budget(30), known=PLANS) as store:
        assert store.total() == 2 * 4 + 3 * 2
        claimed = finish(store, deeper_is_better)
        assert store.done()
        assert sorted(t.params["depth"] for t in claimed if t.arm == "a" and t.phase == "tune") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("sampler=grid", "study.trials=3", "lr.peak=interval(1e-3, 1e-2)"), "study.trials=4, or a smaller grid"),
        (("sampler=grid", "study.trials=7", "ffn=choice(mlp, swiglu)", "model.depth=int(interval(1, 4))"), "8 points"),
    ],
)
def test_a_grid_with_more_points_than_trials_is_refused(tmp_path: Path, typed: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=r"study\.trials") as error:
        open_small(tmp_path, *typed)
    assert words in str(error.value)


def test_a_grid_that_trials_and_extension_hold_together_is_none_too_large(tmp_path: Path) -> None:
    typed = ("sampler=grid", "lr.peak=interval(1e-3, 1e-2)", "study.trials=3", "study.extend=1")
    study = open_small(tmp_path, *typed)
    assert study.total == 4 + 1


def test_choices_and_whole_numbers_are_counted_in_a_grid(tmp_path: Path) -> None:
    study = replace(definition(arms=["a"], seeds=(1,), sampler=GRID), first={"a": {}})
    axes = (Axis("ffn", Choice(("x", "y"))), DEPTH, Axis("lr", Interval(0.1, 1.0, log=False, integer=False)))
    with working(tmp_path, replace(study, arms=(Arm("a", (), axes),)), budget=Budget(100)) as store:
        assert store.total() == 2 * 4 * 3 + 1
