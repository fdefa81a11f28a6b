"""The same comparison at several sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import load
from nanochat.study.ablation import AblationSpec
from nanochat.study.axes import Arm
from nanochat.study.compare import CompareSpec
from nanochat.study.scales import at_scales, named
from tests.runs import SMALL
from tests.study.studies import open_small

ARMS = ("study=ablation", "attention=mla,gqa", "study.seeds=3")


def test_a_list_names_options_of_model_and_a_mapping_overrides() -> None:
    assert named(["nano", "micro"]) == {"nano": ("model=nano",), "micro": ("model=micro",)}
    assert named({"s": ["model.depth=2"]}) == {"s": ("model.depth=2",)}


def test_every_arm_is_there_at_every_scale_matched_to_the_baseline_of_that_scale(tmp_path: Path) -> None:
    study = open_small(
        tmp_path, *ARMS, "study.baseline=gqa", "study.scales={s:['model.depth=2'],l:['model.depth=4']}"
    ).definition
    assert [(arm.name, arm.alone, arm.scale) for arm in study.arms] == [
        ("mla @ s", "mla", "s"),
        ("gqa @ s", "gqa", "s"),
        ("mla @ l", "mla", "l"),
        ("gqa @ l", "gqa", "l"),
    ]
    assert [(how.arm, how.to) for how in study.matched] == [("mla @ s", "gqa @ s"), ("mla @ l", "gqa @ l")]
    assert all(abs(how.mismatch) <= 0.01 for how in study.matched)
    sizes = {how.to: how.target for how in study.matched}
    assert sizes["gqa @ l"] > sizes["gqa @ s"]
    assert all(arm.axes for arm in study.arms), "each is tuned by itself"


def test_a_scale_may_be_a_number_of_tokens() -> None:
    base = [text for text in SMALL if not text.startswith("stop.steps")]
    found = at_scales([Arm("a", (), ())], {"short": ("stop.steps=4",), "long": ("stop.steps=8",)}, base=base)
    assert [arm.overrides for arm in found] == [("stop.steps=4",), ("stop.steps=8",)]


def test_names_that_look_like_scales_are_names() -> None:
    arms = [Arm("x @ y", ("attention=mla",), ()), Arm("b, c", ("attention=gqa",), ())]
    assert [arm.alone for arm in arms] == ["x @ y", "b, c"]
    scaled = at_scales(arms, {"y": ("model.depth=2",), "ü 2": ("model.depth=3",)}, base=SMALL)
    assert [arm.name for arm in scaled] == ["x @ y @ y", "b, c @ y", "x @ y @ ü 2", "b, c @ ü 2"]
    assert [arm.alone for arm in scaled] == ["x @ y", "b, c"] * 2


def test_two_arms_of_one_name_are_refused() -> None:
    arms = [Arm("a", ("attention=mla",), ()), Arm("a @ b", ("attention=gqa",), ())]
    with pytest.raises(SpecError, match="appears twice"):
        at_scales(arms, {"b @ c": ("model.depth=2",), "c": ("model.depth=3",)}, base=SMALL)


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ("study.scales=[nano,nano]", "lists a scale twice"),
        ("study.scales={a:['model.depth=3'],b:['model.depth=3']}", "a and b come to one size"),
        ("study.scales={a:['model.dim=32']}", "sets model.dim, which is set for all"),
        ("study.scales={a/b:['model.depth=3']}", "must be a name without slashes"),
        ("study.scales={a:['model.depth=2,3']}", "model.depth=2,3"),
        ("study.scales={a:['study.trials=3']}", "is the same for all arms"),
        ("study.scales={a:['lr.peak=interval(1e-3, 1e-2)']}", "is nothing to search"),
        ("study.scales=[nona]", "nona"),
    ],
)
def test_what_is_no_scale_is_refused(tmp_path: Path, scales: str, words: str) -> None:
    with pytest.raises(SpecError) as error:
        open_small(tmp_path, *ARMS, scales)
    assert words in str(error.value)


def test_an_experiment_file_may_name_them() -> None:
    spec = load(compose(["experiment=activation"])["study"], CompareSpec)
    assert isinstance(spec, AblationSpec) and spec.scales == ("nano", "micro")
