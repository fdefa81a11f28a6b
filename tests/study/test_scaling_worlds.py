"""Scaling studies in simulated worlds: the budget holds whatever happens, and the answer is near the truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanochat.law.fit import fit
from nanochat.law.hoffmann import Hoffmann
from nanochat.study.budget import Budget
from nanochat.study.design import HOUR
from nanochat.study.grid import first_cells
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from tests.study.stores import seen, working
from tests.study.worlds import World, plans, scaling, simulate, some_law

# The first guess, 20 tokens a parameter, is far from this law's best shapes: sizes prove to be missing.
FAR = Hoffmann(E=1.0, A=27.8, B=441.0, alpha=0.4, beta=0.4)


def random_world(seed: int, **how: object) -> tuple[World, Budget]:
    """A study of a random kind and budget in a world where all kinds of things go wrong."""
    generator = np.random.default_rng(seed)
    hours = float(10 ** generator.uniform(0, 1)) if generator.uniform() < 0.5 else None
    flops = float(10 ** generator.uniform(13, 15)) if hours is None or generator.uniform() < 0.3 else None
    arms = ("gqa", "mla") if generator.uniform() < 0.2 else ("gqa",)
    study = scaling(
        flops=flops,
        hours=hours,
        kind="sequential" if generator.uniform() < 0.4 else "isoflop",
        arms=arms,
        branches=generator.uniform() < 0.7,
        seeds=(1, 2) if generator.uniform() < 0.2 else (1,),
        transfer=generator.choice(["law", "law", "none"]),
    )
    world = World(
        study,
        law={arm: some_law(generator) for arm in arms},
        seed=seed,
        diverging=float(generator.choice([0.0, 0.1])),
        failing=float(generator.choice([0.0, 0.15])),
        pace=float(generator.choice([0.05, 0.4])),
    )
    return world, Budget(flops=flops, hours=hours)


def check_budget(world: World, budget: Budget, store: Store) -> None:
    store.refresh()
    assert store.done()
    assert store.book.points, "some points were run"
    if budget.flops is not None:
        assert max(flops for flops, _ in world.most) <= budget.flops * (1 + 1e-9)
        assert budget.hours is not None or world.flops > 0.5 * budget.flops, "and it is used"
    if budget.hours is not None:
        assert max(seconds for _, seconds in world.most) <= budget.hours * 3600 * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_no_budget_is_exceeded_whatever_goes_wrong(tmp_path: Path, seed: int) -> None:
    world, budget = random_world(seed)
    check_budget(world, budget, simulate(tmp_path, world, budget=budget, slots=1 + seed % 3))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_no_budget_is_exceeded_in_two_hundred_studies(tmp_path: Path, part: int) -> None:
    for seed in range(1000 + part, 1200, 4):
        world, budget = random_world(seed)
        check_budget(world, budget, simulate(tmp_path / str(seed), world, budget=budget, slots=1 + seed % 3))


@pytest.mark.parametrize("kind", ["isoflop", pytest.param("sequential", marks=pytest.mark.slow)])
def test_the_answer_is_near_the_truth(tmp_path: Path, kind: str) -> None:
    regrets = []
    for seed in range(4):
        truth = some_law(np.random.default_rng(seed))
        study = scaling(flops=1e14, kind=kind)  # type: ignore[arg-type]
        world = World(study, law={"gqa": truth}, seed=seed)
        store = simulate(tmp_path / str(seed), world, budget=Budget(flops=1e14))
        points = [trial for trial in store.book.points.values() if trial.score is not None]
        design = study.design
        assert design is not None
        n = np.array([design.by_arm[trial.arm].params for trial in points], dtype=float)
        d = np.array([trial.params["stop.tokens"] for trial in points], dtype=float)
        found = fit(Hoffmann, {"n": n, "d": d}, np.array([trial.score for trial in points])).law
        c = design.answer_for
        chosen = found.params(c)
        regrets.append(float(truth.loss(chosen, c / 6 / chosen)) / truth.best(c) - 1)
    assert np.median(regrets) < 0.003, regrets


@pytest.mark.parametrize("kind", ["isoflop", pytest.param("sequential", marks=pytest.mark.slow)])
def test_a_study_that_is_killed_again_and_again_has_the_same_table(tmp_path: Path, kind: str) -> None:
    def world() -> World:
        study = scaling(flops=3e13, kind=kind, levels=3)  # type: ignore[arg-type]
        return World(study, law={"gqa": some_law(np.random.default_rng(5))}, seed=5, diverging=0.1)

    whole = simulate(tmp_path / "whole", world(), budget=Budget(flops=3e13), slots=2)
    for slots in (1, 3):
        broken, folder = world(), tmp_path / str(slots)
        for _ in range(100):
            with working(folder, broken.study, budget=Budget(flops=3e13), known=plans(broken.study)) as store:
                if broken.run(store, slots=slots, stop_after=5) == 0:
                    break
        assert sorted(map(repr, seen(store))) == sorted(map(repr, seen(whole)))


@pytest.mark.parametrize("seed", [33, 37])
def test_which_points_the_budget_pays_for_does_not_depend_on_slots(tmp_path: Path, seed: int) -> None:
    """Where runs fail the last ones do not fit: a ready one must not take what an earlier one, that waits, needs."""

    def table(slots: int) -> list[str]:
        study = scaling(flops=2e13, transfer="none")
        world = World(study, law={"gqa": FAR}, seed=seed, diverging=0.2)
        return sorted(map(repr, seen(simulate(tmp_path / str(slots), world, budget=Budget(flops=2e13), slots=slots))))

    assert table(1) == table(4)


@pytest.mark.parametrize("seed", [0, 2])
def test_points_that_failed_are_begun_again_and_nothing_that_followed_changes(tmp_path: Path, seed: int) -> None:
    study = scaling(flops=3e13, levels=3)
    world = World(study, law={"gqa": some_law(np.random.default_rng(seed))}, seed=seed, failing=0.3)
    with working(tmp_path, study, budget=Budget(flops=6e13), known=plans(study)) as store:
        world.run(store)
        before = {number: (t.arm, t.params) for number, t in store.book.points.items()}
        assert {t.phase for t in store.trials() if t.status == "failed"} == {"tune", "point"}
        world.failing = 0.0
        assert {trial.phase for trial in store.begin_again()} == {"point"}, "rates stay what points were chosen by"
        world.run(store)
        assert store.done()
        after = {number: (t.arm, t.params) for number, t in store.book.points.items()}
        assert before == {number: after[number] for number in before}
        assert all(t.status == "complete" for t in store.book.points.values())


def test_a_larger_budget_adds_to_a_study_and_changes_nothing_of_it(tmp_path: Path) -> None:
    for kind in ("isoflop", "sequential"):
        study = scaling(flops=3e13, kind=kind, levels=3)  # type: ignore[arg-type]
        world = World(study, law={"gqa": some_law(np.random.default_rng(5))}, seed=5)
        before = seen(simulate(tmp_path / kind, world, budget=Budget(flops=3e13)))
        after = simulate(tmp_path / kind, world, budget=Budget(flops=2e14))
        assert set(map(repr, before)) < set(map(repr, seen(after)))
        assert world.flops <= 2e14


def test_what_hours_cut_off_is_run_when_there_are_more(tmp_path: Path) -> None:
    """No room for a second attempt, or stopped for taking too long: neither is the end of a point."""
    study = scaling(flops=None, hours=1.0, levels=2)
    world = World(study, law={"gqa": some_law(np.random.default_rng(3))}, seed=2, pace=0.6)
    with working(tmp_path, study, budget=Budget(hours=1.0), known=plans(study)) as store:
        while (trial := store.claim()) is not None and trial.phase != "point":
            kept, _, _ = world.attempt(trial)
            store.tell(trial, kept, values=(kept["test_bpb"],) if kept["status"] == "complete" else None)
        assert trial is not None
        store.release(trial, seconds=HOUR)
        assert store.claim() is None and store.book.points[0].status == "skipped"
        store.grow(Budget(hours=3.0))
        world.run(store)
        late = {number for number, point in store.book.points.items() if point.status == "timeout"}
        assert late and store.book.points[0].status in ("complete", "timeout")
        world.pace = 0.0
        store.grow(Budget(hours=6.0))
        store.begin_again()
        world.run(store)
        assert store.done() and all(point.status == "complete" for point in store.book.points.values())


def test_an_arm_of_which_no_run_is_complete_takes_no_turn(tmp_path: Path) -> None:
    study = scaling(flops=3e13, kind="sequential", levels=3, arms=("gqa", "mla"), transfer="none")
    world = World(study, law={"gqa": some_law(np.random.default_rng(1))}, seed=1)

    def attempt(trial: Trial) -> tuple[dict[str, Any], float, bool]:
        if trial.arm.startswith("mla"):
            return {"status": "diverged", "reason": "", "key": "k", "tokens": trial.begins}, 0.0, False
        return World.attempt(world, trial)

    world.attempt = attempt  # type: ignore[method-assign]
    store = simulate(tmp_path, world, budget=Budget(flops=3e13))
    first = len(first_cells(study.design, seeds=(1,))) if study.design else 0
    assert store.done() and len(store.book.points) > first
    assert {t.arm[:3] for number, t in store.book.points.items() if number >= first} == {"gqa"}


def test_longer_runs_go_on_from_shorter_ones_of_their_size(tmp_path: Path) -> None:
    study = scaling(flops=1e14)
    world = World(study, law={"gqa": some_law(np.random.default_rng(1))}, seed=1)
    store = simulate(tmp_path, world, budget=Budget(flops=1e14))
    points = list(store.book.points.values())
    begun = [trial for trial in points if trial.start]
    assert len(begun) > len(points) / 3
    for trial in begun:
        trunk = next(other for other in points if other.result and other.result["key"] == trial.start)
        assert (trunk.arm, trunk.seed) == (trial.arm, trial.seed)
        assert trunk.params["stop.tokens"] < trial.params["stop.tokens"]
        assert 0.75 < trial.begins / trunk.params["stop.tokens"] <= 0.85
    separate = sum(
        study.design.cost(trial.arm, trial.params["stop.tokens"], "flops") for trial in points if study.design
    )
    assert sum(trial.flops or 0 for trial in points) < 0.85 * separate


def test_a_level_whose_best_size_lies_at_an_end_gets_more_sizes(tmp_path: Path) -> None:
    """The first guess, 20 tokens a parameter, is far from this law's best shapes."""
    n = math.sqrt(1e12 / 6 / 3000)
    truth = Hoffmann(E=1.0, A=n**0.4, B=(1e12 / 6 / n) ** 0.4, alpha=0.4, beta=0.4)
    study = scaling(flops=1e14, transfer="none")
    store = simulate(tmp_path, World(study, law={"gqa": truth}, seed=0), budget=Budget(flops=1e14))
    assert study.design is not None
    first = first_cells(study.design, seeds=(1,))
    assert len(store.book.points) > len(first)
    for level in (0, 1):  # the budget has no room for more of the larger ones
        known = {c.arm for c in first if c.level == level}
        smallest = min(study.design.by_arm[arm].params for arm in known)
        assert any(
            study.design.by_arm[trial.arm].params < smallest
            and trial.params["stop.tokens"] == study.design.tokens(trial.arm, level)
            for trial in store.book.points.values()
        ), level
