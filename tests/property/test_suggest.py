"""Suggestions and prunings: pure, blind to the order in which trials finish, inside their ranges."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.core.compose import Choice, Interval, compose, groups
from nanochat.core.spec import load
from nanochat.pruner.base import PrunerSpec
from nanochat.sampler.base import SamplerSpec
from nanochat.study.axes import Axis
from nanochat.study.suggest import Past, Suggestions

AXES = (
    Axis("lr.peak", Interval(1e-4, 1e-1, log=True, integer=False)),
    Axis("depth", Interval(1, 6, log=False, integer=True)),
    Axis("ffn", Choice(("moe", "swiglu"))),
)
CONDITIONAL = (*AXES, Axis("ffn.experts", Interval(2, 8, log=False, integer=True), when=(("ffn", ("moe",)),)))
LAG = 3
STEPS = (10, 30, 90)

SAMPLERS, PRUNERS = groups()["sampler"], groups()["pruner"]


@cache
def sampler(name: str) -> SamplerSpec:
    extra = {"startup": 4, "population": 4}
    return load({k: extra.get(k, v) for k, v in compose([f"sampler={name}"])["sampler"].items()}, SamplerSpec)


@cache
def pruner(name: str) -> PrunerSpec:
    quick = {"startup": 2, "patience": 1, "delta": 0.05}
    return load({k: quick.get(k, v) for k, v in compose([f"pruner={name}"])["pruner"].items()}, PrunerSpec)


def suggestions(
    name: str = "tpe", *, arm: str = "a", seed: int = 0, lag: int = LAG, axes: Sequence[Axis] = AXES, **given: Any
) -> Suggestions:
    built = pruner(given.pop("prune", "none")).build(tokens=90, first=10)
    return Suggestions(
        arm=arm, axes=axes, sampler=sampler(name), pruner=built, seed=seed, lag=lag, **{"first": {}, **given}
    )


def loss(params: dict[str, Any]) -> float | None:
    """A smooth valley; the deepest models diverge."""
    if params["depth"] == 6:
        return None
    return (math.log10(params["lr.peak"]) + 2.5) ** 2 + abs(params["depth"] - 3) + (params["ffn"] == "moe")


def curve(params: dict[str, Any]) -> list[tuple[int, float]]:
    """What a run reports on its way: falling to its loss, some of them rising at first."""
    end = loss(params)
    bend = 0.5 if params["ffn"] == "moe" else -0.2
    return [] if end is None else [(t, end + bend * math.log(t / 90)) for t in STEPS]


def ended(params: dict[str, Any], *, objectives: int = 1) -> Past:
    value = loss(params)
    values = None if value is None else (value, float(params["depth"]))[:objectives]
    return Past(params, True, values, reports=curve(params))


class Game:
    """A study whose trials finish in a random order, its workers dying now and then."""

    def __init__(self, make: Any, *, slots: int, seed: int, deaths: bool = False, objectives: int = 1) -> None:
        self.make, self.slots, self.deaths, self.objectives = make, slots, deaths, objectives
        self.random = random.Random(seed)
        self.mind: Suggestions = make()
        self.past: list[Past] = []

    def play(self, count: int) -> list[Past]:
        while not (len(self.past) == count and all(trial.finished for trial in self.past)):
            if self.deaths and self.random.random() < 0.15:
                self.mind = self.make()  # another worker: it knows what was stored, and no more
            running = [i for i, trial in enumerate(self.past) if not trial.finished]
            n = len(self.past)
            if n < count and len(running) < self.slots and self.mind.ready(self.past, n):
                self.past.append(Past(self.mind.suggest(self.past, n), False, None))
            else:
                self.finish(self.random.choice(running))
        return self.past

    def finish(self, n: int) -> None:
        params = dict(self.past[n].params)
        reports = json.loads(json.dumps(curve(params)))
        pruned = self.mind.judge(self.past, n, [(t, v) for t, v in reports])
        rungs = self.mind.rungs(n)
        if pruned is None:
            trial = ended(params, objectives=self.objectives)
            self.past[n] = Past(trial.params, True, trial.values, reports=trial.reports, rungs=rungs)
        else:
            seen = [(t, v) for t, v in reports if t <= pruned]
            self.past[n] = Past(params, True, None, pruned=True, reports=seen, rungs=rungs)


@pytest.mark.parametrize("name", SAMPLERS)
def test_suggestions_depend_neither_on_the_order_of_completion_nor_on_who_asks(name: str) -> None:
    count = 12 if name == "gp" else 22

    def make() -> Suggestions:
        return suggestions(name)

    expected = Game(make, slots=1, seed=0).play(count)
    for seed in (1, 2):
        assert Game(make, slots=LAG, seed=seed, deaths=True).play(count) == expected
    assert len({json.dumps(trial.params) for trial in expected}) > count // 2, "it draws more than once"


@pytest.mark.parametrize("name", PRUNERS)
def test_prunings_depend_neither_on_the_order_of_completion_nor_on_who_judges(name: str) -> None:
    def make() -> Suggestions:
        return suggestions(prune=name)

    expected = Game(make, slots=1, seed=0).play(24)
    for seed in (1, 2):
        assert Game(make, slots=LAG, seed=seed, deaths=True).play(24) == expected
    pruned = [trial for trial in expected if trial.pruned]
    assert bool(pruned) == (name != "none"), "each pruner gives something up, none gives up nothing"
    assert all(trial.values is None and trial.reports[-1][0] in STEPS for trial in pruned)


def test_asha_lets_the_best_third_pass_its_rungs() -> None:
    """By hand: with one slot and lag 1 every earlier trial is seen, so each rung is a plain comparison of ranks."""
    past = Game(lambda: suggestions("random", prune="asha", lag=1), slots=1, seed=0).play(20)
    passed: dict[int, list[float]] = {step: [] for step in STEPS}
    for trial in past:
        for step, value in curve(dict(trial.params)):
            passed[step].append(value)
            keep = max(1, len(passed[step]) // 3)
            best = sorted(passed[step])[keep - 1]
            if value > best:
                assert trial.pruned and trial.reports[-1][0] == step
                break
        else:
            assert not trial.pruned


def test_several_objectives_are_suggested_for(name: str = "nsga2") -> None:
    def make() -> Suggestions:
        return suggestions(name, objectives=2)

    expected = Game(make, slots=1, seed=0, objectives=2).play(20)
    assert Game(make, slots=LAG, seed=3, deaths=True, objectives=2).play(20) == expected


def test_a_grid_tries_every_combination_once() -> None:
    axes = (Axis("depth", Interval(1, 3, log=False, integer=True)), AXES[2], Axis("x", Interval(1, 100, True, False)))
    mind = suggestions("grid", axes=axes, first={"depth": 2})
    past: list[Past] = []
    for n in range(24):
        past.append(Past(mind.suggest(past, n), True, (1.0,)))
    found = {tuple(sorted(trial.params.items())) for trial in past}
    assert len(found) == 24
    assert {round(trial.params["x"], 3) for trial in past} == {1.0, 4.642, 21.544, 100.0}


def test_axes_exist_only_under_the_choice_that_has_them() -> None:
    past = Game(lambda: suggestions(axes=CONDITIONAL), slots=LAG, seed=0, deaths=True).play(20)
    assert {trial.params["ffn"] for trial in past} == {"moe", "swiglu"}
    assert all(("ffn.experts" in trial.params) == (trial.params["ffn"] == "moe") for trial in past)
    assert Game(lambda: suggestions(axes=CONDITIONAL), slots=1, seed=5).play(20) == past


def known(count: int, **given: Any) -> list[Past]:
    return Game(lambda: suggestions(**given), slots=1, seed=0).play(count)


def test_results_within_the_lag_are_not_seen_and_earlier_ones_are() -> None:
    past = known(20)

    def asked(*indices: int) -> list[dict[str, Any]]:
        changed = [Past(t.params, True, (100.0,)) if i in indices else t for i, t in enumerate(past)]
        return [suggestions(seed=seed).suggest(changed, 20) for seed in range(4)]

    assert asked(18, 19) == asked()
    assert asked(17) != asked()


def test_failed_trials_enter_as_failed() -> None:
    params = suggestions().suggest([], 0)
    assert set(suggestions().suggest([Past(params, True, None)] * 15, 15)) == {axis.key for axis in AXES}


def test_the_parameters_of_running_trials_are_seen() -> None:
    past = known(20)
    there = suggestions().suggest(past, 20)
    crowded = [*past[:-2], *[Past(there, False, None)] * 2]
    assert suggestions().suggest(crowded, 20) != there, "it goes where nobody is"


def test_trials_of_an_earlier_search_are_seen() -> None:
    past = known(20)
    fresh, wiser = suggestions(), suggestions(imported=past)
    assert wiser.suggest([], 0) != fresh.suggest([], 0)
    assert suggestions(imported=past).suggest([], 0) == wiser.suggest([], 0)
    assert suggestions("cmaes", imported=past).suggest([], 0), "what it cannot use does no harm"


def test_trial_zero_takes_the_configs_own_values() -> None:
    first = {"lr.peak": 0.003, "depth": 2, "ffn": "swiglu"}
    assert suggestions(first=first).suggest([], 0) == first
    assert suggestions(first={"lr.peak": 0.003}).suggest([], 0)["lr.peak"] == 0.003
    assert suggestions(first=first).suggest([Past(first, False, None)], 1) != first


def test_seeds_arms_and_numbers_have_suggestions_of_their_own() -> None:
    found = [suggestions().suggest([], 0), suggestions(seed=1).suggest([], 0), suggestions(arm="b").suggest([], 0)]
    found.append(suggestions().suggest([Past(found[0], False, None)], 1))
    assert len({found["lr.peak"] for found in found}) == 4


def test_a_suggestion_before_its_time_is_refused() -> None:
    params = suggestions().suggest([], 0)
    with pytest.raises(AssertionError, match="before its time"):
        suggestions().suggest([Past(params, False, None)] * LAG, LAG)


@given(st.floats(1e-6, 1.0), st.floats(1.5, 1e4), st.booleans(), st.integers(0, 30))
@settings(max_examples=25)
def test_suggestions_lie_in_their_ranges(low: float, factor: float, log: bool, n: int) -> None:
    axes = (Axis("x", Interval(low, low * factor, log=log, integer=False)),)
    mind = suggestions(axes=axes, lag=1)
    value = mind.suggest([Past({"x": low * factor}, True, (1.0,))] * n, n)["x"]
    assert low <= value <= low * factor
