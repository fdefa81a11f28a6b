"""Which combinations of choices make arms: some left out by `study.exclude`, some side by side by `study.zip`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from nanochat.core.errors import SpecError
from nanochat.study.axes import read_axes
from nanochat.study.combine import same

GRID = ("attention=mla,gqa", "ffn=moe,swiglu")


def names(
    *overrides: str,
    arms: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[Mapping[str, Any]] = (),
    zipped: Sequence[Sequence[str]] = (),
) -> list[str]:
    found = read_axes(overrides, arms=arms or {}, space=(), seed=1, tune_seed=0, exclude=exclude, zipped=zipped)
    return [arm.name for arm in found.arms]


def test_an_excluded_combination_is_no_arm() -> None:
    assert names(*GRID, exclude=[{"attention": "mla", "ffn": "moe"}]) == ["mla, swiglu", "gqa, moe", "gqa, swiglu"]
    assert names(*GRID, exclude=[{"attention": "mla", "ffn": "moe"}, {"ffn": "swiglu"}]) == ["gqa, moe"]


@pytest.mark.parametrize(
    ("typed", "combination", "left"),
    [
        ("lr.peak=1e-3,0.01", {"lr.peak": 0.001}, ["peak=0.01"]),
        ("model.depth=2,4", {"model.depth": 4}, ["depth=2"]),
        ("model.tied=true,false", {"model.tied": True}, ["tied=False"]),
        ("model.tied=True,False", {"model.tied": False}, ["tied=True"]),
        ("grad_clip=null,1.0", {"grad_clip": None}, ["1.0"]),
        ("ffn@ffn.expert=mlp,swiglu", {"ffn@ffn.expert": "mlp"}, ["expert=swiglu"]),
        ("+lr.extra=1,2", {"lr.extra": 1}, ["extra=2"]),
        ("data.path='a b','c,d'", {"data.path": "a b"}, ["path=c,d"]),
        ("attention.pattern=[a,b],[b,a]", {"attention.pattern": ["a", "b"]}, ["pattern=[b,a]"]),
    ],
)
def test_values_are_compared_by_what_they_mean(typed: str, combination: dict[str, Any], left: list[str]) -> None:
    assert names(typed, exclude=[combination]) == left


def test_a_number_is_no_boolean() -> None:
    assert same(1, 1.0) and same(True, True) and same(None, None) and same("a", "a")
    assert not same(1, True) and not same(False, 0) and not same(0, None) and not same("1", 1)


def test_exclusions_know_what_named_arms_set() -> None:
    arms = {"a": ["attention=mla", "context=8"], "b": ["attention=gqa"]}
    assert names("ffn=moe,swiglu", arms=arms, exclude=[{"attention": "mla", "ffn": "moe"}]) == [
        "a, swiglu",
        "b, moe",
        "b, swiglu",
    ]


def test_exclusions_know_what_all_arms_share() -> None:
    assert names("attention=mla", "ffn=moe,swiglu", exclude=[{"attention": "mla", "ffn": "moe"}]) == ["swiglu"]


@pytest.mark.parametrize(
    ("combination", "words"),
    [
        ({"attention": "nope"}, "no arm has"),
        ({"attention": "mla", "context": 8}, "no arm has"),
        ({}, "no arm has"),
    ],
)
def test_an_exclusion_that_leaves_nothing_out_is_refused(combination: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=r"study\.exclude") as error:
        names(*GRID, exclude=[combination])
    assert words in str(error.value)


def test_exclusions_that_leave_nothing_over_are_refused() -> None:
    with pytest.raises(SpecError, match=r"study\.exclude.*no arm"):
        names(*GRID, exclude=[{"attention": "mla"}, {"attention": "gqa"}])


def test_zipped_choices_advance_together() -> None:
    zipped = [["model.depth", "model.dim"]]
    assert names("model.depth=2,4", "model.dim=64,128", zipped=zipped) == ["depth=2, dim=64", "depth=4, dim=128"]
    among = names("model.depth=2,4", "ffn=moe,swiglu", "model.dim=64,128", zipped=zipped)
    assert among == [
        "depth=2, dim=64, moe",
        "depth=2, dim=64, swiglu",
        "depth=4, dim=128, moe",
        "depth=4, dim=128, swiglu",
    ]


def test_an_arms_overrides_are_its_point_of_the_zip() -> None:
    found = read_axes(
        ["attention=mla,gqa", "model.depth=2,4", "context=8", "model.dim=64,128", "seed=1,2"],
        arms={},
        space=(),
        seed=1,
        tune_seed=0,
        zipped=[["model.depth", "model.dim"]],
    )
    assert found.arms[1].overrides == ("attention=mla", "model.depth=4", "model.dim=128")
    assert found.base == ("context=8",)
    assert found.seeds == (1, 2)


def test_equal_values_of_zipped_keys_make_arms_of_their_own() -> None:
    zipped = [["model.depth", "model.dim"]]
    assert names("model.depth=2,2", "model.dim=64,128", zipped=zipped) == ["depth=2, dim=64", "depth=2, dim=128"]
    with pytest.raises(SpecError, match="twice"):
        names("model.depth=2,2", "model.dim=64,64", zipped=zipped)


def test_zip_and_exclude_go_together() -> None:
    found = names(
        "model.depth=2,4",
        "model.dim=64,128",
        "ffn=moe,swiglu",
        zipped=[["model.depth", "model.dim"]],
        exclude=[{"model.dim": 128, "ffn": "moe"}],
    )
    assert found == ["depth=2, dim=64, moe", "depth=2, dim=64, swiglu", "depth=4, dim=128, swiglu"]


def test_two_groups_of_zipped_keys_are_a_product() -> None:
    zipped = [["model.depth", "model.dim"], ["lr.peak", "lr.warmup"]]
    found = names("model.depth=1,2", "model.dim=3,4", "lr.peak=5,6", "lr.warmup=7,8", zipped=zipped)
    assert found[1] == "depth=1, dim=3, peak=6, warmup=8" and len(found) == 4


@pytest.mark.parametrize(
    ("zipped", "words"),
    [
        (
            [["model.depth", "model.dym"]],
            "study.zip=model.dym: has no choices a,b to advance; did you mean 'model.dim'?",
        ),
        ([["model.depth", "context"]], "study.zip=context: has no choices"),
        ([["model.depth", "lr.peak"]], "lr.peak has 3"),
        ([["model.depth", "model.dim"], ["model.depth", "ffn"]], "study.zip=model.depth: is zipped twice"),
        ([["model.depth", "model.depth"]], "study.zip=model.depth: is zipped twice"),
    ],
)
def test_mistakes_in_a_zip_are_named(zipped: list[list[str]], words: str) -> None:
    typed = ("model.depth=2,4", "model.dim=64,128", "ffn=moe,swiglu", "lr.peak=1,2,3", "context=8")
    with pytest.raises(SpecError) as error:
        names(*typed, zipped=zipped)
    assert words in str(error.value)


def test_seeds_are_repeated_on_and_never_zipped() -> None:
    with pytest.raises(SpecError, match=r"study\.zip=seed: has no choices"):
        names("model.depth=2,4", "seed=1,2", zipped=[["model.depth", "seed"]])
