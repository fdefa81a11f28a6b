"""A real study in two windows: paused in the first, finished in the second, with the results of undisturbed runs."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import yaml

import run
from nanochat.schedule.study import PAUSED, only_one, run_study, study_command
from nanochat.study.table import read_csv
from tests.runs import SMALL, run_small
from tests.study.studies import open_small

pytestmark = pytest.mark.slow

STEPS = ("stop.steps=80", "checkpoint=0.1")
STUDY = ("attention=gqa,mqa", *STEPS, "study.slots=2", "study.name=pair")


def test_two_windows_make_the_results_of_undisturbed_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's here"  # which has to be quoted on the way
    multirun = folder / "multirun"
    paths = {"multirun": str(multirun), "experiments": str(folder / "experiments")}
    first = multirun / "schedule" / "first.log"
    with only_one(multirun / "schedule" / "pair.lock") as lock:
        assert lock is not None
        code = run_study(
            study_command([*SMALL, *STUDY], paths=paths),
            log=first,
            grace=60.0,
            lock=lock,
            over=lambda: any(multirun.glob("runs/*/metrics.csv")),
            rest=threading.Event().wait,
        )
    assert code == PAUSED, first.read_text()
    assert "stopped; the same command continues" in first.read_text()

    schedule = yaml.safe_load(Path("conf/schedule/nightly.yaml").read_text())
    schedule |= {"experiment": None, "overrides": [*SMALL, *STUDY]}
    (folder / "schedules").mkdir()
    (folder / "schedules" / "pair.yaml").write_text(yaml.safe_dump(schedule))
    words = [f"task.folder='{folder}/schedules'", *(f"paths.{name}='{path}'" for name, path in paths.items())]
    words = [word.replace("it's", r"it\'s") for word in words]
    monkeypatch.setattr(sys, "argv", ["run.py", "task=schedule", "task.once=pair", *words])
    assert run.main() == 0, capsys.readouterr().err
    assert "pair: begins (asked for)" in (said := capsys.readouterr().out) and "pair: complete" in said

    rows = read_csv(multirun / "studies" / "pair" / "results.csv", open_small(tmp_path, *STUDY).definition)
    assert [row["arm"] for row in rows] == ["gqa", "mqa"]
    for row in rows:
        calm, _ = run_small(tmp_path, f"attention={row['arm']}", *STEPS)
        found = {name: calm[name] for name in ("status", "key", "tokens")}
        found |= {"valid_bpb": calm["valid"]["bpb"], "test_bpb": calm["test"]["bpb"], "loss": calm["test"]["loss"]}
        assert found == {name: row[name] for name in found}
