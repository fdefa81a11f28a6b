"""Suggestions: pure, blind to the order in which trials finish, inside their ranges."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.core.compose import Choice, Interval
from nanochat.study.axes import Axis
from nanochat.study.suggest import Past, suggest

AXES = (
    Axis("lr.peak", Interval(1e-4, 1e-1, log=True, integer=False)),
    Axis("depth", Interval(1, 6, log=False, integer=True)),
    Axis("ffn", Choice(("moe", "swiglu"))),
)
LAG = 3


def ask(n: int, history: list[Past], *, seed: int = 0, lag: int = LAG, first: dict[str, Any] | None = None):
    return suggest(n, arm="a", axes=AXES, history=history, seed=seed, lag=lag, first=first or {})


def loss(params: dict[str, Any]) -> float | None:
    """A smooth valley; the deepest models diverge."""
    if params["depth"] == 6:
        return None
    return (math.log10(params["lr.peak"]) + 2.5) ** 2 + abs(params["depth"] - 3) + (params["ffn"] == "moe")


def play(count: int, *, slots: int, order: random.Random, lag: int = LAG) -> list[dict[str, Any]]:
    """A study whose trials finish in a random order: what each was suggested."""
    asked: list[dict[str, Any]] = []
    finished: set[int] = set()
    while len(finished) < count:
        n, running = len(asked), len(asked) - len(finished)
        if n < count and running < slots and all(i in finished for i in range(n - lag + 1)):
            history = [Past(p, i in finished, loss(p) if i in finished else None) for i, p in enumerate(asked)]
            asked.append(ask(n, history, lag=lag))
        else:
            finished.add(order.choice([i for i in range(n) if i not in finished]))
    return asked


def test_suggestions_do_not_depend_on_the_order_of_completion() -> None:
    expected = play(25, slots=1, order=random.Random(0))
    for seed in range(4):
        assert play(25, slots=LAG, order=random.Random(seed)) == expected


def test_a_restart_continues_with_the_same_suggestions() -> None:
    asked = play(20, slots=2, order=random.Random(0))
    stored = json.loads(json.dumps([[params, loss(params)] for params in asked]))
    history = [Past(params, True, value) for params, value in stored]
    assert ask(20, history) == ask(20, [Past(params, True, loss(params)) for params in asked])


def test_results_within_the_lag_are_not_seen_and_earlier_ones_are() -> None:
    asked = play(20, slots=1, order=random.Random(0))
    history = [Past(params, True, loss(params)) for params in asked]

    def changed(index: int) -> list[Past]:
        return [Past(p.params, True, -100.0) if i == index else p for i, p in enumerate(history)]

    expected = ask(20, history)
    assert [ask(20, changed(index)) == expected for index in (18, 19)] == [True, True]
    assert ask(20, changed(17)) != expected


def test_failed_trials_enter_as_failed() -> None:
    failed = [Past(ask(0, []), True, None)] * 15
    assert set(ask(15, failed)) == {axis.key for axis in AXES}


def test_the_parameters_of_running_trials_are_seen() -> None:
    history = [Past(params, True, loss(params)) for params in play(20, slots=1, order=random.Random(0))]
    moved = [*history[:-1], Past({**history[-1].params, "lr.peak": 9e-2}, False, None)]
    assert ask(20, moved) != ask(20, history)


def test_trial_zero_takes_the_configs_own_values() -> None:
    first = {"lr.peak": 0.003, "depth": 2, "ffn": "swiglu"}
    assert ask(0, [], first=first) == first
    assert ask(0, [], first={"lr.peak": 0.003})["lr.peak"] == 0.003
    assert ask(1, [Past(first, False, None)], first=first) != first


def test_seeds_arms_and_numbers_have_suggestions_of_their_own() -> None:
    found = [ask(0, []), ask(0, [], seed=1), suggest(0, arm="b", axes=AXES, history=[], seed=0, lag=LAG, first={})]
    found.append(ask(1, [Past(found[0], False, None)]))
    assert len({found["lr.peak"] for found in found}) == 4


def test_a_suggestion_before_its_time_is_refused() -> None:
    with pytest.raises(AssertionError, match="before its time"):
        ask(LAG, [Past(ask(0, []), False, None)] * LAG)


@given(st.floats(1e-6, 1.0), st.floats(1.5, 1e4), st.booleans(), st.integers(0, 30))
@settings(max_examples=25)
def test_suggestions_lie_in_their_ranges(low: float, factor: float, log: bool, n: int) -> None:
    axes = (Axis("x", Interval(low, low * factor, log=log, integer=False)),)
    history = [Past({"x": low * factor}, True, 1.0)] * n
    value = suggest(n, arm="a", axes=axes, history=history, seed=0, lag=1, first={})["x"]
    assert low <= value <= low * factor
