"""The definition: what it is stored as, what it is named, what tells two apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nanochat.core.artifact import write_json
from nanochat.core.compose import Choice, Interval
from nanochat.core.errors import SpecError
from nanochat.study.axes import Arm, Axis
from nanochat.study.definition import (
    FILE,
    Definition,
    default_name,
    differences,
    open_definition,
    override_texts,
    plain,
    read_definition,
)
from tests.study.definitions import PEAK, definition
from tests.study.studies import open_small

RUNS = definition().runs


def stored(folder: Path, study: Definition) -> Path:
    write_json(folder / FILE, plain(study))
    return folder


def test_it_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    axes = (PEAK, Axis("depth", Interval(1, 4, log=False, integer=True)), Axis("ffn", Choice(("moe", "swiglu"))))
    study = replace(definition(), arms=(Arm("a, b", ("ffn=moe",), axes),), first={"a, b": {"depth": 2}})
    found = read_definition(stored(tmp_path, study))
    assert found == study
    assert json.dumps(plain(found)) == json.dumps(plain(study))


def test_a_new_folder_takes_what_is_wanted(tmp_path: Path) -> None:
    assert open_definition(tmp_path, definition()) == definition()


def test_reopening_keeps_what_the_first_machine_derived(tmp_path: Path) -> None:
    first = replace(definition(), threads=3)
    wanted = replace(definition(), threads=1, command=("paths.multirun=elsewhere",))
    assert open_definition(stored(tmp_path, first), wanted) == first


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seeds": (1, 2, 3)}, "seeds"),
        ({"tune_seed": 9}, "tune_seed: there 0, here 9"),
        ({"runs": {**RUNS, "mla": {**RUNS["mla"], "lr": {"peak": 0.5}}}}, "runs.mla.lr.peak: there 0.003, here 0.5"),
        ({"arms": definition(arms=["mla", "nsa"]).arms}, "arms[1].name: there gqa, here nsa"),
        ({"objectives": ("bpb", "params")}, "objectives"),
    ],
)
def test_another_study_is_refused_naming_the_difference(tmp_path: Path, change: dict, word: str) -> None:
    with pytest.raises(SpecError) as error:
        open_definition(stored(tmp_path, definition()), replace(definition(), **change))
    assert word in str(error.value)
    assert str(error.value).startswith("study.name=test: is another study")


@pytest.mark.parametrize(
    "change",
    [{"lag": 5}, {"seed": 7}, {"arms": definition(tuned=["mla"]).arms}, {"sampler": {"_target_": "other"}}],
)
def test_another_search_is_the_same_study_on_the_machine_that_began_it(tmp_path: Path, change: dict) -> None:
    wanted = replace(definition(), threads=7, name="x", **change)
    found = open_definition(stored(tmp_path, definition()), wanted)
    assert found == replace(definition(), **change)


def test_differences_names_keys_that_one_side_lacks() -> None:
    found = list(differences({"a": 1, "b": [1, 2]}, {"b": [1, 3], "c": 2}))
    assert found == [("a", 1, None), ("b[1]", 2, 3), ("c", None, 2)]


def test_the_default_name_is_readable_and_follows_from_what_decides_runs(tmp_path: Path) -> None:
    def name(*overrides: str) -> str:
        return open_small(tmp_path, *overrides).definition.name

    arms = ("attention=mla,gqa", "seed=1,2")
    first = name(*arms)
    assert first.startswith("mla-gqa-")
    assert name(*arms, "study.slots=1", "study.trials=30", "paths.experiments=elsewhere", "code=accept") == first
    assert len({first, name(*arms, "context=64"), name(*arms, "study.tune_seed=7")}) == 3


def test_the_default_name_is_a_folder_even_for_odd_arms() -> None:
    odd = definition(arms=["depth=1, x/y", "depth=2, ü" * 20])
    assert "/" not in default_name(odd) and len(default_name(odd)) <= 47


def test_tuned_values_are_typed_in_full_precision() -> None:
    assert override_texts({"lr.peak": 0.1 + 0.2, "depth": 3, "ffn": "moe"}) == [
        "lr.peak=0.30000000000000004",
        "depth=3",
        "ffn=moe",
    ]


def test_trial_zero_begins_with_the_configs_own_values_where_they_lie_on_the_axes(tmp_path: Path) -> None:
    axes = ("lr.peak=interval(1e-3, 1e-2)", "model.depth=int(interval(1, 4))", "ffn=choice(moe, swiglu)")
    (first,) = open_small(tmp_path, *axes).definition.first.values()
    assert first == {"lr.peak": 3e-3, "model.depth": 2, "ffn": "swiglu"}
    (outside,) = open_small(tmp_path, "lr.peak=interval(0.1, 0.2)").definition.first.values()
    assert outside == {}
