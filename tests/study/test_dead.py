"""Dead knobs, found between real runs: what changed nothing is named, what changed something is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.run import child
from nanochat.study.dead import dead_knobs
from nanochat.study.work import Outcome
from tests.study.studies import run_study


def found(outcome: Outcome) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    knobs = dead_knobs(outcome.rows, runs=outcome.study.settings.paths.runs)
    return [(knob.keys, knob.runs) for knob in knobs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dead")


def test_a_knob_that_does_nothing_at_its_setting_is_named(folder: Path) -> None:
    """Gradients of a tiny model never come near the limits; the others have a limit that they feel."""
    outcome = run_study(folder, "grad_clip=1e6,1e7,0.01", "stop.steps=4", target=child.main)
    assert {row["status"] for row in outcome.rows} == {"complete"}
    assert found(outcome) == [(("grad_clip",), ("1e6 seed 1", "1e7 seed 1"))] or found(outcome) == [
        (("grad_clip",), ("1000000.0 seed 1", "10000000.0 seed 1"))
    ]
    (knob,) = dead_knobs(outcome.rows, runs=outcome.study.settings.paths.runs)
    assert str(knob).startswith("grad_clip changed nothing: the curves of ") and "the same to the last bit" in str(knob)


def test_knobs_that_do_something_are_not_named(folder: Path) -> None:
    assert found(run_study(folder, "lr.peak=0.003,0.00300001", "stop.steps=4", target=child.main)) == []
    assert found(run_study(folder, "seed=1,2", "stop.steps=4", target=child.main)) == []


def test_one_run_of_two_names_is_no_dead_knob(folder: Path) -> None:
    """A tuning trial and a confirming run with one key are one run."""
    rows = [
        {"arm": "a", "phase": "seed", "number": 0, "seed": seed, "status": "complete", "key": "same"} for seed in (1, 2)
    ]
    assert dead_knobs(rows, runs=folder / "multirun" / "runs") == []
