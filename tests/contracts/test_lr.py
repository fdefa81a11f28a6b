"""Learning-rate schedules: pure functions of the step, warmed up, never above the peak."""

from __future__ import annotations

import json
import math
from functools import cache
from itertools import pairwise
from typing import Any

import options
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import canonical_json, hash_of, load
from nanochat.lr.base import FactorsSpec, LRSpec
from nanochat.lr.constant import ConstantSpec
from nanochat.lr.cosine import CosineSpec
from nanochat.lr.linear import LinearSpec
from nanochat.lr.wsd import WSDSpec
from nanochat.run.spec import run_spec
from nanochat.trainer.module import LanguageModel
from tests.runs import run_small, small

NAMES = options.names("lr")
ALIKE = FactorsSpec(embedding=1.0, hidden=1.0, head=1.0, vector=1.0)


@cache
def fields(name: str) -> dict[str, Any]:
    return compose([f"lr={name}"])["lr"]


def schedule(name: str, **changes: float) -> LRSpec:
    return load({**fields(name), **changes}, LRSpec)


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.integers(1, 200), warmup=st.floats(0, 1), peak=st.floats(1e-6, 10))
def test_a_schedule_keeps_its_contract(name, steps, warmup, peak):
    spec = schedule(name, peak=peak, warmup=warmup)
    rates = [spec.rate(step, steps=steps) for step in range(steps)]
    assert all(0 <= rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[0] > 0
    assert rates == [spec.rate(step, steps=steps) for step in range(steps)]
    warm = round(warmup * steps)
    assert rates[:warm] == pytest.approx([peak * (step + 1) / warm for step in range(warm)])
    if warm < steps:
        assert rates[warm] == pytest.approx(peak)


def test_a_constant_rate_by_hand():
    spec = ConstantSpec(peak=2.0, warmup=0.25, factors=ALIKE)
    assert [spec.rate(step, steps=8) for step in range(8)] == [1, 2, 2, 2, 2, 2, 2, 2]


def test_a_cosine_by_hand():
    spec = CosineSpec(peak=2.0, warmup=0.2, floor=0.1, factors=ALIKE)
    rates = [spec.rate(step, steps=10) for step in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(2.0 * (0.1 + 0.9 / 2))  # half-way
    assert rates[9] == pytest.approx(2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi * 7 / 8)) / 2))
    assert all(a > b for a, b in pairwise(rates[2:]))
    assert spec.replace(floor=1.0).rate(9, steps=10) == 2.0
    assert CosineSpec(peak=2.0, warmup=0.0, floor=0.1, factors=ALIKE).rate(9999, steps=10000) == pytest.approx(
        0.2, rel=1e-4
    )


def test_a_line_by_hand():
    spec = LinearSpec(peak=2.0, warmup=0.2, floor=0.25, factors=ALIKE)
    rates = [spec.rate(step, steps=10) for step in range(10)]
    assert rates == pytest.approx([1.0, 2.0, *(2.0 * (1 - 0.75 * n / 8) for n in range(8))])


def test_warm_up_stable_decay_by_hand():
    """Two steps of warm-up, six at the peak, four that decay: the n-th of these by √(n/4), counted from zero."""
    spec = WSDSpec(peak=2.0, warmup=1 / 6, decay=0.4, floor=0.1, factors=ALIKE)
    rates = [spec.rate(step, steps=12) for step in range(12)]
    decayed = [2.0 * (0.1 + 0.9 * (1 - math.sqrt(n / 4))) for n in range(4)]
    assert rates == pytest.approx([1.0, *[2.0] * 7, *decayed])
    assert spec.rate(119_999, steps=120_000) == pytest.approx(0.2, rel=1e-3)
    assert spec.replace(floor=1.0).rate(11, steps=12) == 2.0
    assert spec.replace(decay=1.0).rate(7, steps=12) == pytest.approx(2.0 * (0.1 + 0.9 * (1 - math.sqrt(0.5))))


@pytest.mark.parametrize("decay", [0.0, 1.5, -0.1])
def test_a_decay_that_is_no_share_is_refused(decay: float):
    with pytest.raises(SpecError, match="decay="):
        schedule("wsd", decay=decay)


@pytest.mark.parametrize("changes", [{"peak": 0.0}, {"peak": -1.0}, {"warmup": 1.5}, {"warmup": -0.1}])
@pytest.mark.parametrize("name", NAMES)
def test_rates_that_make_no_sense_are_refused(name, changes):
    [key] = changes
    with pytest.raises(SpecError, match=f"{key}="):
        schedule(name, **changes)


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_up_in_steps_is_the_same_in_every_run(name):
    spec = schedule(name, peak=2.0, warmup=4)
    for steps in (5, 10, 1000):
        assert [spec.rate(step, steps=steps) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


def test_one_step_is_not_the_whole_run():
    """1 is a step, 1.0 a share, in the Spec and in its JSON."""
    one, whole = schedule("cosine", warmup=1), schedule("cosine", warmup=1.0)
    assert (one.warmup_steps(10), whole.warmup_steps(10)) == (1, 10)
    assert one != whole and hash_of(one) != hash_of(whole) and len({one, whole}) == 2
    for spec in (one, whole, schedule("cosine", warmup=20), schedule("cosine", warmup=0.05)):
        again = load(json.loads(canonical_json(spec)), LRSpec)
        assert again == spec and type(again.warmup) is type(spec.warmup) and hash(again) == hash(spec)
    assert schedule("cosine", warmup=20.0) == schedule("cosine", warmup=20)
    assert schedule("cosine", warmup=0) == schedule("cosine", warmup=0.0)
    for typed, found in (("1", 1), ("1.0", 1.0), ("2e1", 20), ("0", 0.0)):
        warmup = run_spec(compose([f"lr.warmup={typed}"])).lr.warmup
        assert warmup == found and type(warmup) is type(found)


@pytest.mark.parametrize(
    ("warmup", "said"),
    [
        ("8", "lr.warmup=8: must be shorter than the run of 8 steps; try 0.05"),
        ("100", "lr.warmup=100: must be shorter than the run of 8 steps"),
        ("1.0", "lr.warmup=1.0: must be shorter than the run of 8 steps; 1 would be one step"),
        ("1.5", "lr.warmup=1.5: must be"),
    ],
)
def test_a_warm_up_that_leaves_nothing_is_refused(tmp_path, warmup, said):
    with pytest.raises(SpecError) as error:
        small(tmp_path, f"lr.warmup={warmup}")
    assert said in str(error.value)
    assert small(tmp_path, "lr.warmup=7")[0].lr.warmup == 7


@given(steps=st.integers(1, 400), warmup=st.integers(1, 20) | st.floats(0, 0.9), decay=st.floats(0.01, 1))
def test_before_its_decay_begins_a_run_is_as_long_as_any(steps, warmup, decay):
    """The rates up to there are those of a constant rate, so of runs of every length; soon after they are not."""
    spec = schedule("wsd", peak=2.0, warmup=warmup, decay=decay)
    begins = spec.decay_begins(steps)
    warm = spec.warmup_steps(steps)
    if begins is None:
        assert (1 - decay) * (steps - warm) < 1
        return
    assert warm < begins <= steps
    assert all(spec.rate(step, steps=steps) == 2.0 for step in range(warm, begins))
    assert all(spec.rate(step, steps=steps) < 2.0 for step in range(begins + 2, steps))


def test_where_the_decay_begins_by_hand():
    assert schedule("wsd", warmup=20, decay=0.2).decay_begins(520) == 420
    assert schedule("wsd", warmup=0.1, decay=0.4).decay_begins(100) == 64
    assert schedule("wsd", warmup=0.0, decay=0.9).decay_begins(10) == 1  # (1 - 0.9)·10 is 0.9999999999999998
    assert schedule("wsd", warmup=0.1, decay=1.0).decay_begins(100) is None
    assert schedule("constant", warmup=20).decay_begins(100) == 100
    assert schedule("cosine", warmup=20).decay_begins(100) is None


def test_training_steps_with_the_rates_of_the_schedule(tmp_path, monkeypatch):
    """What the optimizer is given in each step, resumed or not, is the schedule's rate for that step."""
    used = []
    clip = LanguageModel.clip

    def seen(self):
        used.append({group["lr"] for group in self.optimizers().param_groups})
        return clip(self)

    monkeypatch.setattr(LanguageModel, "clip", seen)
    run_small(tmp_path, "lr.warmup=0.25", "lr.floor=0.2", "lr.peak=0.01")
    spec = CosineSpec(peak=0.01, warmup=0.25, floor=0.2, factors=ALIKE)
    assert used == [{spec.rate(step, steps=8)} for step in range(8)]


FACTORS = {"embedding": 0.5, "hidden": 2.0, "head": 0.25, "vector": 3.0}


def test_every_group_is_trained_at_the_rate_of_its_role(tmp_path, monkeypatch):
    """The schedule's rate × the factor of the role × the optimizer's own, and that changes what is learned."""
    used: list[dict[str, float]] = []
    clip = LanguageModel.clip

    def seen(self):
        used.append({group["role"]: group["lr"] for group in self.optimizers().param_groups})
        return clip(self)

    monkeypatch.setattr(LanguageModel, "clip", seen)
    common = ("optimizer=muon", "optimizer.adam_factor=0.5", "model.tied=false", "lr.peak=0.01", "stop.steps=4")
    factors = [f"lr.factors.{name}={factor}" for name, factor in FACTORS.items()]
    run_small(tmp_path, *common, *factors)
    spec = schedule("cosine", peak=0.01)
    of_roles = {"embedding": 0.25, "hidden": 2.0, "residual": 2.0, "head": 0.125, "vector": 1.5}
    for step, rates in enumerate(used):
        rate = spec.rate(step, steps=4)
        assert rates == pytest.approx({role: rate * factor for role, factor in of_roles.items()})
    assert len(used) == 4
    plain, _ = run_small(tmp_path, *common)
    for one in factors:
        changed, _ = run_small(tmp_path, *common, one)
        assert changed["key"] != plain["key"] and changed["test"]["bpb"] != plain["test"]["bpb"], one


def test_a_factor_must_be_positive():
    with pytest.raises(SpecError, match=r"factors\.head=0"):
        load({**fields("cosine"), "factors": {**fields("cosine")["factors"], "head": 0.0}}, LRSpec)
