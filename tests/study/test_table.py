"""Results as rows, their file, and what they come to for each arm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanochat.core.compose import Choice, Interval
from nanochat.study.axes import Arm, Axis
from nanochat.study.definition import Definition
from nanochat.study.table import Row, arm_results, at_edge, csv_text, read_csv, rows
from nanochat.study.trial import Trial
from tests.study.definitions import PEAK, definition

DEPTH = Axis("depth", Interval(1, 4, log=False, integer=True))
FFN = Axis("ffn", Choice(("moe", "swiglu")))


def trial(arm: str, phase: Any, number: int, *, score: float | None, **params: Any) -> Trial:
    result: dict[str, Any] = {"status": "failed", "reason": "it broke,\nbadly", "key": None}
    if score is not None:
        scores = {"valid_bpb": score, "test_bpb": score, "loss": score}
        result = {"status": "complete", "reason": "", "key": "abc", "tokens": 8, "seconds": 0.5, **scores}
    return Trial(
        id=0, place=0, phase=phase, arm=arm, number=number, seed=number if phase == "seed" else 0,
        params={key.replace("_", "."): value for key, value in params.items()},
        owner="", lost=0, tries=0, micro=None, flops=None, result=result,
        values=None if score is None else (score,),
    )  # fmt: skip


@pytest.fixture
def study() -> Definition:
    arms = (Arm("mla", (), (PEAK, DEPTH)), Arm("gqa", (), (PEAK, FFN)))
    return replace(definition(seeds=(0, 1, 2)), arms=arms)


@pytest.fixture
def found(study: Definition) -> list[Row]:
    trials = [
        trial("mla", "tune", 0, score=2.0, lr_peak=0.1 + 0.2, depth=1),
        trial("mla", "tune", 1, score=1.5, lr_peak=0.01, depth=4),
        trial("mla", "tune", 2, score=1.5, lr_peak=0.02, depth=2),
        trial("mla", "tune", 3, score=None, lr_peak=0.05, depth=3),
        *(trial("mla", "seed", seed, score=1.0 + 0.01 * seed, lr_peak=0.01, depth=4) for seed in range(3)),
        trial("gqa", "tune", 0, score=3.0, lr_peak=0.00011, ffn="moe"),
        *(trial("gqa", "seed", seed, score=2.0 - 0.01 * seed, lr_peak=0.00011, ffn="moe") for seed in range(3)),
    ]
    return rows(trials)


def test_the_file_gives_the_same_rows(tmp_path: Path, study: Definition, found: list[Row]) -> None:
    (tmp_path / "results.csv").write_text(csv_text(found, study))
    again = read_csv(tmp_path / "results.csv", study)
    keys = ["lr.peak", "depth", "ffn"]
    assert again == [{**dict.fromkeys(keys), **row} for row in found]
    assert csv_text(again, study) == csv_text(found, study)


def test_columns_come_in_order_and_seconds_last(study: Definition, found: list[Row]) -> None:
    header = csv_text(found, study).splitlines()[0]
    assert header == (
        "arm,phase,number,seed,lr.peak,depth,ffn,status,reason,tokens,valid_bpb,valid_loss,test_bpb,loss,"
        "params,active_params,flops,flops_spent,non_embedding_params,start,state_bytes,key,seconds"
    )
    assert "0.30000000000000004" in csv_text(found, study)


def test_unfinished_trials_are_no_rows() -> None:
    running = replace(trial("mla", "tune", 0, score=1.0), result=None)
    assert rows([running]) == []


def test_each_arm_has_its_best_and_its_scores(study: Definition, found: list[Row]) -> None:
    mla, gqa = arm_results(study, found)
    assert mla.best == {"lr.peak": 0.01, "depth": 4}, "of equal trials the earlier"
    assert mla.scores == (1.0, 1.01, 1.02)
    assert mla.mean == pytest.approx(1.01)
    assert mla.sd == pytest.approx(0.01)
    assert (mla.edges, gqa.edges) == (("depth",), ("lr.peak",))


def test_the_file_alone_gives_the_same_results(tmp_path: Path, study: Definition, found: list[Row]) -> None:
    (tmp_path / "results.csv").write_text(csv_text(found, study))
    assert arm_results(study, read_csv(tmp_path / "results.csv", study)) == arm_results(study, found)


def test_failed_seeds_have_no_score(study: Definition, found: list[Row]) -> None:
    lacking = [row for row in found if (row["arm"], row["phase"], row["seed"]) != ("gqa", "seed", 1)]
    assert arm_results(study, lacking)[1].scores == (2.0, None, 1.98)
    empty = arm_results(study, [])
    assert [(r.best, r.mean, r.sd) for r in empty] == [({}, None, None)] * 2


@pytest.mark.parametrize(
    ("log", "value", "edge"),
    [(True, 1.3e-4, True), (True, 1.5e-4, False), (True, 0.08, True), (True, 0.05, False),
     (False, 1.5e-4, True), (False, 0.004, True), (False, 0.006, False), (False, 0.096, True)],
)  # fmt: skip
def test_an_edge_is_the_outer_twentieth_of_the_range_on_its_own_scale(log: bool, value: float, edge: bool) -> None:
    assert at_edge(Axis("x", Interval(1e-4, 1e-1, log=log, integer=False)), value) == edge


def test_a_choice_has_no_edge() -> None:
    assert not at_edge(FFN, "moe")
