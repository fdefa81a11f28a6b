"""The worker's loop with runs whose ends are scripted: what is recorded, tried again, handed back, refused."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from nanochat.core.errors import MachineError, SpecError
from nanochat.study.runs import Runs
from nanochat.study.table import read_csv
from nanochat.study.watch import Watch
from tests.study import targets
from tests.study.studies import lasting, open_small, run_study

TUNED = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=2")


def begun(folder: Path) -> int:
    """How many runs were begun."""
    return sum(int(path.read_text()) for path in (folder / "multirun").glob("begun-*"))


def counted(rows) -> Counter[tuple[str, str]]:
    return Counter((row["phase"], row["status"]) for row in rows)


def test_a_study_is_tuned_confirmed_written_and_then_complete(tmp_path: Path) -> None:
    outcome = run_study(tmp_path, "attention=mla,gqa", *TUNED, target=targets.complete)
    assert outcome.complete and not outcome.again
    assert counted(outcome.rows) == {("tune", "complete"): 4, ("seed", "complete"): 4}
    assert begun(tmp_path) == 8
    assert [child for server in psutil.Process().children() for child in server.children()] == [], "left running"
    study = outcome.study
    assert read_csv(study.folder / "results.csv", study.definition) == list(outcome.rows)
    again = run_study(tmp_path, "attention=mla,gqa", *TUNED, target=targets.complete)
    assert again.complete and again.again
    assert lasting(again.rows) == lasting(outcome.rows)
    assert begun(tmp_path) == 8


def test_tuning_uses_the_reserved_seed_and_the_best_is_confirmed_on_the_listed_ones(tmp_path: Path) -> None:
    rows = run_study(tmp_path, *TUNED, target=targets.complete).rows
    tuned = [row for row in rows if row["phase"] == "tune"]
    confirming = [row for row in rows if row["phase"] == "seed"]
    assert {row["seed"] for row in tuned} == {0}
    assert [row["seed"] for row in confirming] == [1, 2]
    best = min(tuned, key=lambda row: row["valid_bpb"])
    assert {row["lr.peak"] for row in confirming} == {best["lr.peak"]}
    assert tuned[0]["lr.peak"] == 3e-3, "trial 0 takes the config's own value"


def test_failures_are_recorded_with_their_reason_and_not_tried_again(tmp_path: Path) -> None:
    rows = run_study(tmp_path, *TUNED, "study.trials=4", target=targets.diverging).rows
    failed = [row for row in rows if row["status"] == "diverged"]
    assert failed and all(row["reason"] == "loss is nan" and row["valid_bpb"] is None for row in failed)
    assert [row["status"] for row in rows if row["phase"] == "seed"] == ["complete", "complete"]


def test_a_death_does_not_count_until_the_third_in_a_row(tmp_path: Path) -> None:
    outcome = run_study(tmp_path, *TUNED, target=targets.dying)
    first, *others = [row for row in outcome.rows if row["phase"] == "tune"]
    assert first["status"] == "lost"
    assert "3 times" in first["reason"] and "SIGKILL" in first["reason"]
    assert {row["status"] for row in others} == {"complete"}
    assert outcome.complete


def test_parameters_that_make_no_run_are_a_failed_trial(tmp_path: Path) -> None:
    rows = run_study(tmp_path, "attention.heads=choice(4, 3)", "study.trials=8", target=targets.complete).rows
    by_heads = {row["attention.heads"]: row for row in rows if row["phase"] == "tune"}
    assert by_heads["4"]["status"] == "complete"
    assert by_heads["3"]["status"] == "failed"
    assert "attention.heads=3" in by_heads["3"]["reason"]


def test_what_a_run_refuses_stops_the_study_and_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no space left"):
        run_study(tmp_path, *TUNED, target=targets.refusing)
    outcome = run_study(tmp_path, *TUNED, target=targets.complete)
    assert counted(outcome.rows) == {("tune", "complete"): 2, ("seed", "complete"): 2}


def test_an_interrupt_stops_every_run_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Watch.progress

    def interrupt(self: Watch, slot: int, message: dict[str, Any]) -> None:
        told(self, slot, message)
        if len(self.running) == 2 and all(run.phase == "train" for run in self.running.values()):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "progress", interrupt)
        outcome = run_study(tmp_path, *TUNED, target=targets.patient)
    assert not outcome.complete
    assert list(outcome.rows) == [], "stopped is not finished"
    assert not outcome.study.notebook.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    held = {row["lr.peak"] for row in run_study(tmp_path, *TUNED, target=targets.complete).rows}
    calm = {row["lr.peak"] for row in run_study(tmp_path / "calm", *TUNED, target=targets.complete).rows}
    assert held == calm


def test_a_signal_that_comes_while_a_run_is_made_stops_that_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, said = Runs.request, []

    def request(self: Runs, *args: Any) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return made(self, *args)

    monkeypatch.setattr(Runs, "request", request)
    monkeypatch.setattr(Watch, "say", lambda self, text: said.append(text))
    assert not run_study(tmp_path, *TUNED, target=targets.patient).complete
    assert len(said) == 1 and "stopping after a checkpoint" in said[0], "the run waited for its word in vain"


def test_more_trials_continue_the_same_study(tmp_path: Path) -> None:
    small = run_study(tmp_path, *TUNED, target=targets.complete)
    large = run_study(tmp_path, *TUNED, "study.extend=1", target=targets.complete)
    assert large.study.folder == small.study.folder
    assert counted(large.rows) == {("tune", "complete"): 3, ("seed", "complete"): 2}
    assert lasting(large.rows)[:2] == lasting(small.rows)[:2]


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["attention=mla,gqa", "lr.peek=0.1"], "lr.peak"),
        (["attention=mla,nope"], "nope"),
        (["lr.peek=interval(0.1, 0.2)"], "lr.peak"),
        (["model.depth=interval(1, 4)"], "model.depth"),
        (["attention.heads=3,5"], "attention.heads=3"),
        (["study.name=a/b"], "study.name"),
        (["study.extend=-1"], "study.extend"),
        (["study.slots=0"], "study.slots"),
    ],
)
def test_mistakes_surface_before_anything_is_made(tmp_path: Path, overrides: list[str], word: str) -> None:
    with pytest.raises(SpecError, match=word):
        open_small(tmp_path, *overrides)
    assert not (tmp_path / "multirun" / "studies").exists()


def test_another_study_of_the_same_name_is_refused_naming_the_difference(tmp_path: Path) -> None:
    run_study(tmp_path, "study.name=one", *TUNED, target=targets.complete)
    with pytest.raises(SpecError, match=r"study\.name=one: is another study[\s\S]*warmup"):
        open_small(tmp_path, "study.name=one", *TUNED, "lr.warmup=0.5")


def test_the_threads_of_a_study_stay_what_they_were(tmp_path: Path) -> None:
    typed = (*TUNED, "study.name=one", "trainer.threads=null")
    first = run_study(tmp_path, *typed, "study.slots=1", target=targets.complete)
    again = run_study(tmp_path, *typed, "study.slots=2", target=targets.complete)
    assert again.again
    threads = first.study.definition.threads
    run = again.study.runs.spec(again.study.definition.arms[0], params={}, seed=1)
    assert (again.study.definition.threads, run.trainer.threads) == (threads, threads)
