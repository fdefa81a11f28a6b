"""Axes that exist only under one choice of a group: from what is typed to the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.core.errors import SpecError
from nanochat.study.axes import Axis, read_axes
from nanochat.study.conditions import probes, with_conditions
from nanochat.study.definition import read_definition
from nanochat.study.table import arm_results, csv_text, read_csv
from tests.study import targets
from tests.study.studies import open_small, run_study

RANK = ("attention=choice(mla, gqa)", "attention.kv_lora_rank=int(interval(8, 16))")
EXPERT = "ffn@ffn.expert=choice(mlp, swiglu)"
ACTIVATION = "ffn.expert.activation=choice(relu, gelu)"


def axes(*overrides: str) -> list[Axis]:
    found = read_axes(overrides, arms={}, space=(), seed=1, tune_seed=0)
    (arm,) = found.arms
    return list(with_conditions(arm, base=found.base).axes)


def conditions(*overrides: str) -> dict[str, dict[str, tuple[str, ...]]]:
    return {axis.key: dict(axis.when) for axis in axes(*overrides)}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (RANK, {"attention": {}, "attention.kv_lora_rank": {"attention": ("mla",)}}),
        (RANK[::-1], {"attention": {}, "attention.kv_lora_rank": {"attention": ("mla",)}}),
        (("attention=choice(mla, gqa)", "attention.heads=choice(2, 4)"), {"attention": {}, "attention.heads": {}}),
        (
            ("attention=choice(mha, mla, gqa)", "attention.kv_heads=choice(1, 2)"),
            {"attention": {}, "attention.kv_heads": {"attention": ("mha", "gqa")}},
        ),
        (
            ("ffn=moe", ACTIVATION, EXPERT),
            {"ffn@ffn.expert": {}, "ffn.expert.activation": {"ffn@ffn.expert": ("mlp",)}},
        ),
        (
            ("ffn=choice(moe, swiglu)", "ffn.expert.hidden=int(interval(8, 16))", ACTIVATION, EXPERT),
            {
                "ffn": {},
                "ffn.expert.hidden": {"ffn": ("moe",)},
                "ffn@ffn.expert": {"ffn": ("moe",)},
                "ffn.expert.activation": {"ffn@ffn.expert": ("mlp",)},
            },
        ),
    ],
)
def test_an_axis_is_bound_to_the_choices_that_have_it(typed: tuple[str, ...], expected: dict) -> None:
    found = conditions(*typed)
    assert found == expected
    assert list(found) == list(expected), "what decides comes first"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("attention=choice(gqa, mha)", RANK[1]), "attention.kv_lora_rank: is a field of no choice of attention"),
        ((RANK[0], "attention.kv_lora_rnk=interval(1, 2)"), "attention.kv_lora_rnk: is a field of no choice"),
        (("ffn=moe", "ffn@ffn.expert=choice(geglu, swiglu)", ACTIVATION), "of no choice of ffn@ffn.expert"),
        (("ffn=choice(mlp, swiglu)", EXPERT), "ffn@ffn.expert: is a field of no choice of ffn"),
        ((RANK[0], "attention.kv_lora_rank=interval(8, 16)"), "attention.kv_lora_rank=11.0"),
        (("sampler=grid", *RANK), "sampler=grid: needs every axis"),
        (("sampler=qmc", *RANK), "sampler=qmc: needs every axis"),
        (("sampler=cmaes", *RANK), "sampler=cmaes: adapts"),
    ],
)
def test_mistakes_are_named_before_anything_runs(tmp_path: Path, typed: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError) as error:
        open_small(tmp_path, *typed)
    assert words in str(error.value)


def test_every_branch_is_probed() -> None:
    found = axes("ffn=choice(moe, swiglu)", EXPERT, ACTIVATION)
    assert probes(found, first={"ffn": "swiglu"}) == [
        {"ffn": "moe", "ffn@ffn.expert": "mlp", "ffn.expert.activation": "relu"},
        {"ffn": "swiglu"},
    ]


def test_a_mistake_in_a_branch_that_is_not_the_default_is_found(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"attention\.qk_rope_head_dim=3"):
        open_small(tmp_path, "attention=choice(gqa, mla)", "attention.qk_rope_head_dim=int(interval(3, 9))")


def test_a_study_of_two_branches_has_values_where_they_exist(tmp_path: Path) -> None:
    typed = (*RANK, "lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=6", "study.lag=2")
    typed += ("sampler=random",)
    outcome = run_study(tmp_path, *typed, target=targets.by_rank)
    tuned = [row for row in outcome.rows if row["phase"] == "tune"]
    assert {row["attention"] for row in tuned} == {"mla", "gqa"}
    assert all(("attention.kv_lora_rank" in row) == (row["attention"] == "mla") for row in tuned)
    assert {row["status"] for row in outcome.rows} == {"complete"}
    best = min(tuned, key=lambda row: row["valid_bpb"])
    assert best["attention"] == "mla", "the script prefers it"
    confirming = [row for row in outcome.rows if row["phase"] == "seed"]
    assert {(row["attention"], row["attention.kv_lora_rank"], row["lr.peak"]) for row in confirming} == {
        (best["attention"], best["attention.kv_lora_rank"], best["lr.peak"])
    }

    study = outcome.study.definition
    (tmp_path / "again.csv").write_text(csv_text(outcome.rows, study))
    again = read_csv(tmp_path / "again.csv", study)
    keys = ["attention", "attention.kv_lora_rank", "lr.peak"]
    assert again == [{**dict.fromkeys(keys), **row} for row in outcome.rows]
    assert arm_results(study, again) == arm_results(study, outcome.rows)
    assert read_definition(outcome.study.folder).arms[0].axes == study.arms[0].axes


def test_a_study_of_nested_branches_runs(tmp_path: Path) -> None:
    typed = ("ffn=choice(moe, swiglu)", EXPERT, ACTIVATION, "sampler=random", "study.trials=8", "study.lag=8")
    rows = run_study(tmp_path, *typed, target=targets.complete).rows
    assert {row["status"] for row in rows} == {"complete"}, [row["reason"] for row in rows]
    for row in rows:
        assert ("ffn@ffn.expert" in row) == (row["ffn"] == "moe")
        assert ("ffn.expert.activation" in row) == (row.get("ffn@ffn.expert") == "mlp")
    assert any("ffn.expert.activation" in row for row in rows), "no draw reached the inner branch"
