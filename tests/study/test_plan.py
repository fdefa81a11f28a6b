"""The plan of a study: what is timed and kept, what follows from it, and what people read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nanochat.report.planned import span, view
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.study.calibrate import Pace, Unknown, calibrate, told_by_run
from nanochat.study.plan import ArmPlan, Plan, makespan, plan_arm
from nanochat.study.slots import Slot, open_slots
from nanochat.trainer.control import Silent
from tests.run.test_training import StopAt
from tests.runs import run_small, small

HERE: dict[str, Any] = {"gpus": None, "per_gpu": 1, "devices": 1, "threads": 1, "memory": lambda: None, "found": []}


@pytest.fixture
def slots(tmp_path: Path):
    with open_slots("cpu", count=2, folder=tmp_path / "claims", **HERE) as held:
        yield held


def test_arms_are_timed_once_and_nothing_is_left_of_it(tmp_path: Path, slots: list[Slot]) -> None:
    spec, how = small(tmp_path)
    pace = calibrate({"a": spec}, slots=slots, settings=how)["a"]
    assert isinstance(pace, Pace)
    assert min(pace.start, pace.step, pace.valid, pace.test) > 0 and pace.save >= 0
    assert pace.test > pace.valid and pace.documents > 1
    assert not how.paths.runs.exists()
    kept = list((how.paths.cache / "calibration").iterdir())
    assert sorted({path.suffix for path in kept}) == [".json"] and len(kept) == 1
    longer, _ = small(tmp_path, "stop.steps=500", "seed=7", "lr.peak=0.1")
    again = calibrate({"b": longer}, slots=slots, settings=how)
    assert again["b"] == pace, "read, not measured: no two are the same to the bit"
    assert calibrate({"a": spec}, slots=slots[:1], settings=how)["a"] != pace, "alone it has another pace"


def test_a_run_that_fails_has_no_pace_but_a_reason(tmp_path: Path, slots: list[Slot]) -> None:
    wild, how = small(tmp_path, "lr.peak=1e30", "lr.warmup=0.0", "grad_clip=null")
    pace = calibrate({"wild": wild}, slots=slots, settings=how)["wild"]
    assert isinstance(pace, Unknown) and pace.reason.startswith("diverged: ")
    assert not list((how.paths.cache / "calibration").iterdir())


def test_a_finished_run_tells_how_long_it_took(tmp_path: Path) -> None:
    spec, how = small(tmp_path)
    assert told_by_run(spec, settings=how) is None
    result, _ = run_small(tmp_path)
    told = told_by_run(spec, settings=how)
    assert told is not None and told >= result["seconds"]


@pytest.mark.parametrize("words", [(), ("ffn=moe", "optimizer=muon", "model.dim=64", "stop.steps=3")], ids=" ".join)
def test_the_disk_that_a_run_takes_is_near_what_was_planned(tmp_path: Path, words: tuple[str, ...]) -> None:
    spec, how = small(tmp_path, *words)
    execute(spec, settings=how, control=StopAt(spec.batch.tokens))
    [path] = how.paths.runs.iterdir()
    folder = RunFolder(path)
    checkpoint = folder.state_file.stat().st_size
    result = execute(spec, settings=how, control=Silent())
    kept = sum(file.stat().st_size for file in path.iterdir())
    plan = plan_arm("a", spec, tuning=0, seeds=1, done=0, seconds=None, documents=result["test"]["documents"])
    assert 1 / 1.5 < kept / plan.folder < 1.5
    assert 1 / 1.5 < checkpoint / plan.checkpoint < 1.5


def arm(name: str, **changes: Any) -> ArmPlan:
    given: dict[str, Any] = {"params": 105_856, "tuning": 3, "seeds": 2, "done": 0, "tokens": 256_000, "flops": 1e12}
    return ArmPlan(name=name, **{**given, "seconds": 10.0, "folder": 500, "checkpoint": 1000, **changes})


def plan(*arms: ArmPlan, **changes: Any) -> Plan:
    given: dict[str, Any] = {
        "slots": 2,
        "lag": 8,
        "pruned": False,
        "most_flops": None,
        "most_hours": None,
        "free": 10**10,
    }
    return Plan(name="study", arms=arms, **{**given, "unknown": {}, **changes})


def test_runs_take_the_slot_that_is_free_first() -> None:
    assert makespan([4, 3, 2, 1], slots=2) == 5
    assert makespan([1, 1, 1, 9], slots=2) == 10
    assert makespan([2, 3], slots=1) == 5
    assert makespan([], slots=3) == 0


def test_a_plan_adds_up_what_is_left() -> None:
    both = plan(arm("a"), arm("b", seconds=20.0))
    assert (both.runs, both.left, both.flops, both.seconds) == (10, 10, 1e13, 80.0)
    assert both.disk == 10 * 500 + 2 * 1000
    begun = plan(arm("a", done=5), arm("b", done=4))
    assert (begun.runs, begun.left, begun.seconds, begun.disk) == (10, 1, 10.0, 500 + 1000)
    assert plan(arm("a"), arm("b", seconds=None)).seconds is None
    assert plan(arm("a", done=5), arm("b", seconds=None, done=5)).seconds == 0


def read(shown: Plan) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(*view(shown), sep="\n")
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_people_read_what_it_costs_and_what_will_stop_it() -> None:
    name = "attention=mla [wide], moe"
    text = read(plan(arm(name), arm("b", seconds=4000.0)))
    assert name in text and "10 runs, 2 at a time · 1.00e+13 FLOPs" in text
    assert "time: about 3.3 h, done" in text and "at most" not in text
    assert max(map(len, text.splitlines())) <= 80
    pruned = read(plan(arm("a"), pruned=True))
    assert "at most 5.00e+12 FLOPs" in pruned and "time: at most 30 s, done by " in pruned
    capped = read(plan(arm("a", seconds=4000.0), most_flops=1e12, most_hours=0.5, free=10, unknown={"a": "oom [1]"}))
    for words in (
        "study.flops=1e+12 ends",
        "study.hours=0.5 ends",
        "disk will be full",
        "a: no time is known (oom [1])",
    ):
        assert words in capped
    done = read(plan(arm("a", done=5)))
    assert "5 runs, 0 of them to do" in done and "time:" not in done


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (4.25, "4.2 s"), (89.0, "89 s"), (90.0, "1.5 min"), (5400.0, "1.5 h"), (259200.0, "3.0 days")],
)
def test_spans_of_time(seconds: float | None, text: str) -> None:
    assert span(seconds) == text
