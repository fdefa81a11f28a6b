"""From what is typed to arms, search axes and seeds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.core.compose import Choice, Interval
from nanochat.core.errors import SpecError
from nanochat.study.axes import Axes, merge, read_axes

SPACE = ("lr.peak=tag(log, interval(3e-4, 3e-2))",)


def read(*overrides: str, arms: dict[str, tuple[str, ...]] | None = None, seed: int = 1) -> Axes:
    return read_axes(overrides, arms=arms or {}, space=SPACE, seed=seed, tune_seed=0)


def names(axes: Axes) -> list[str]:
    return [arm.name for arm in axes.arms]


def keys(axes: Axes) -> list[list[str]]:
    return [[axis.key for axis in arm.axes] for arm in axes.arms]


def test_commas_make_arms_and_seeds_are_never_arms() -> None:
    axes = read("attention=mla,gqa", "ffn=moe,swiglu", "seed=1,2,3", "context=64")
    assert names(axes) == ["mla, moe", "mla, swiglu", "gqa, moe", "gqa, swiglu"]
    assert axes.arms[1].overrides == ("attention=mla", "ffn=swiglu")
    assert axes.base == ("context=64",)
    assert axes.seeds == (1, 2, 3)
    assert keys(axes) == [[], [], [], []]


def test_distributions_are_searched_inside_each_arm() -> None:
    axes = read("attention=mla,gqa", *SPACE, "ffn=choice(moe, swiglu)", "model.depth=int(interval(1, 4))")
    assert keys(axes) == [["lr.peak", "ffn", "model.depth"]] * 2
    peak, ffn, depth = (axis.domain for axis in axes.arms[0].axes)
    assert peak == Interval(3e-4, 3e-2, log=True, integer=False)
    assert ffn == Choice(("moe", "swiglu"))
    assert depth == Interval(1, 4, log=False, integer=True)


def test_neither_commas_nor_ranges_tune_the_default_space() -> None:
    assert keys(read("attention=mla", "ffn=moe")) == [["lr.peak"]]
    assert names(read("attention=mla", "ffn=moe", "context=64")) == ["mla, moe"]
    assert names(read()) == ["default"]


@pytest.mark.parametrize("typed", ["attention=mla,gqa", "seed=1,2", "context=interval(8, 9)"])
def test_anything_swept_leaves_the_default_space_alone(typed: str) -> None:
    assert "lr.peak" not in {key for arm in keys(read(typed)) for key in arm}


def test_a_key_set_by_hand_leaves_the_default_space() -> None:
    axes = read("lr.peak=0.01")
    assert keys(axes) == [[]]
    assert axes.base == ("lr.peak=0.01",)


def test_range_is_hydras_and_excludes_its_end() -> None:
    assert read("seed=range(1,4)").seeds == (1, 2, 3)


def test_named_arms_bring_overrides_and_ranges_of_their_own() -> None:
    arms = {"mla": ("attention=mla",), "gqa4": ("attention=gqa", "attention.kv_heads=4", "lr.peak=interval(0.1, 0.2)")}
    axes = read("seed=1,2", arms=arms)
    assert names(axes) == ["mla", "gqa4"]
    assert axes.arms[1].overrides == ("attention=gqa", "attention.kv_heads=4")
    assert keys(axes) == [[], ["lr.peak"]]


def test_named_arms_times_commas_are_a_product() -> None:
    axes = read("ffn=moe,swiglu", arms={"a": ("context=8",), "b": ("context=16",)})
    assert names(axes) == ["a, moe", "a, swiglu", "b, moe", "b, swiglu"]
    assert axes.arms[3].overrides == ("context=16", "ffn=swiglu")


def test_what_an_arm_sets_itself_is_not_searched_in_it() -> None:
    axes = read(*SPACE, arms={"tuned": ("context=8",), "fixed": ("lr.peak=0.01",)})
    assert keys(axes) == [["lr.peak"], []]


def test_names_tell_the_arms_apart() -> None:
    assert names(read("model.depth=1,2")) == ["depth=1", "depth=2"]
    assert names(read("model.depth=1,2", "model.dim=1,2"))[:2] == ["depth=1, dim=1", "depth=1, dim=2"]
    axes = read("data.path=/tmp/a,/tmp/b")
    assert len(set(names(axes))) == 2
    assert not any("/" in name for name in names(axes))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lr.peak=interval(3, 1)"], ["lr.peak", "below"]),
        (["lr.peak=interval(1, 1)"], ["lr.peak", "below"]),
        (["lr.peak=tag(log, interval(0, 1))"], ["lr.peak", "above 0"]),
        (["lr.peak=interval(1e-3, 1e-2)", "seed=0,1"], ["study.tune_seed", "among seed=0,1"]),
        (["seed=1,1"], ["seed", "twice"]),
        (["seed=1,x"], ["seed", "whole numbers"]),
        (["seed=interval(1, 3)"], ["seed", "never tuned"]),
        (["attention=mla,mla"], ["mla", "twice"]),
        (["attention=mla,gqa", "attention=gqa"], ["attention", "more than once"]),
        (["ffn=choice(moe, moe)"], ["ffn", "twice"]),
        (["study.trials=1,2"], ["study.trials", "cannot be swept"]),
        (["paths.multirun=a,b"], ["paths.multirun", "cannot be swept"]),
    ],
)
def test_mistakes_are_named(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(SpecError) as error:
        read(*overrides)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("arms", "word"),
    [
        ({"a/b": ("context=8",)}, "slashes"),
        ({"seeds": ("context=8",)}, "confirming"),
        ({" ": ("context=8",)}, "name"),
        ({"a": ("context=8,16",)}, "one thing"),
        ({"a": ("seed=3",)}, "the same for all arms"),
        ({"a": ("study.trials=3",)}, "the same for all arms"),
    ],
)
def test_mistakes_in_named_arms_are_named(arms: dict[str, tuple[str, ...]], word: str) -> None:
    with pytest.raises(SpecError, match=word):
        read(arms=arms)


def test_without_tuning_no_seed_is_reserved() -> None:
    assert read("attention=mla,gqa", "seed=0,1").seeds == (0, 1)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=3, unique=True)


@given(st.lists(WORDS, min_size=1, max_size=3))
def test_arms_are_the_product_of_the_choices_with_names_of_their_own(choices: list[list[str]]) -> None:
    typed = [f"key{i}.leaf{i}={','.join(words)}" for i, words in enumerate(choices)]
    axes = read(*typed, "lr.peak=0.1")
    swept = [words for words in choices if len(words) > 1]
    assert len(axes.arms) == math.prod(len(words) for words in swept)
    assert len(set(names(axes))) == len(axes.arms)
    assert len({arm.overrides for arm in axes.arms}) == len(axes.arms)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=8))
def test_of_several_overrides_of_one_key_the_last_stays(pairs: list[tuple[str, int]]) -> None:
    merged = merge([f"{key}={value}" for key, value in pairs])
    assert dict(text.split("=") for text in merged) == {key: str(value) for key, value in pairs}
    assert len(merged) == len({key for key, _ in pairs})
