"""Pruning: what it spares, what it leaves behind, and that a run that is there already is judged like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanochat.logger.csv import read
from nanochat.run import child
from nanochat.run.folder import RunFolder
from nanochat.study.budget import Budget
from nanochat.study.job import Job
from nanochat.study.trial import Trial
from tests.study import targets
from tests.study.definitions import definition
from tests.study.stores import end, working
from tests.study.studies import lasting, run_study

MEDIAN = {"_target_": "nanochat.pruner.median.MedianSpec", "startup": 1, "tokens": None}
ASHA = {"_target_": "nanochat.pruner.asha.ASHASpec", "tokens": 10, "factor": 2}


def job(trial: Trial) -> Job:
    return Job(trial, key="k", measures={}, sequences=1, micro=1, tokens=0)


@pytest.mark.parametrize("pruner", [MEDIAN, ASHA])
def test_confirming_runs_and_trials_taken_over_are_never_given_up(tmp_path: Path, pruner: dict[str, Any]) -> None:
    with working(tmp_path, definition(arms=["mla"], lag=1, pruner=pruner), budget=Budget(6)) as store:
        given_up = []
        while trial := store.claim():
            judged = store.judge(trial, [(10, 5.0 + trial.number), (50, 5.0 + trial.number)])
            if judged is not None:
                given_up.append(trial)
                kept = {"status": "pruned", "reason": "", "reports": [(10, 5.0 + trial.number)]}
                assert store.tell(trial, kept | {"rungs": store.rungs(trial)}, values=None)
            else:
                end(store, trial, lambda t: ({"status": "complete", "reason": "", "reports": [(10, 5.0)]}, (1.0,)))
        assert given_up and {t.phase for t in given_up} == {"tune"}
        confirming = [t for t in store.trials() if t.phase == "seed"]
        assert [t.status for t in confirming] == ["complete"] * 2
        old = replace(confirming[0], phase="tune", number=-1)
        assert store.judge(old, [(10, 1e9), (50, 1e9)]) is None


def test_reports_after_the_end_repeated_or_not_finite_are_not_heard() -> None:
    heard = job(definition_trial())
    assert heard.hear(10, 2.0)
    assert not heard.hear(10, 3.0), "a repeated run says it again"
    assert not heard.hear(20, float("nan")) and not heard.hear(20, float("inf"))
    assert heard.hear(20, 1.5)
    heard.pruned = 20
    assert not heard.hear(30, 1.0)
    assert heard.reports == [(10, 2.0), (20, 1.5)]
    assert heard.given_up()["tokens"] == 20 and "1.5000" in heard.given_up()["reason"]


def definition_trial() -> Trial:
    return Trial(
        id=0, place=0, phase="tune", arm="mla", number=0, seed=0, params={}, owner="", lost=0, tries=0, micro=None,
        flops=None, result=None, values=None,
    )  # fmt: skip


STUDY = (
    "lr.peak=tag(log, interval(1e-5, 3e-2))",
    "sampler=random",
    "pruner=median",
    "pruner.startup=1",
    "study.trials=4",
    "study.lag=1",
    "eval.evaluations=4",
    "stop.steps=24",
    "seed=1",
)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory):
    """A real study that gave up something."""
    folder = tmp_path_factory.mktemp("pruned")
    return folder, run_study(folder, *STUDY, target=child.main)


def test_a_run_given_up_is_continued_by_the_study_that_needs_all_of_it(pruned, tmp_path: Path) -> None:
    folder, outcome = pruned
    row = next(row for row in outcome.rows if row["status"] == "pruned")
    run = RunFolder(folder / "multirun" / "runs" / row["key"])
    before = read(run.metrics_file)
    assert (run.result() or {"status": "stopped"})["status"] == "stopped"
    assert row["tokens"] < 24 * 256
    whole = run_study(folder, *whole_run(row["lr.peak"]), target=child.main)
    (again,) = whole.rows
    assert (again["key"], again["status"], again["tokens"]) == (row["key"], "complete", 24 * 256)
    assert read(run.metrics_file)[: len(before) - 1] == before[:-1], "from where it was"
    fresh = run_study(tmp_path, *whole_run(row["lr.peak"]), target=child.main)
    assert lasting(list(fresh.rows)) == lasting(list(whole.rows))

    # All of these runs are there in full now: a study that only looks them up gives up the same.
    for other in outcome.rows:
        if other["status"] == "pruned" and other is not row:
            run_study(folder, *whole_run(other["lr.peak"]), target=child.main)
    known = run_study(folder, *STUDY, "study.name=known", target=targets.refusing)
    assert lasting(list(known.rows)) == lasting(list(outcome.rows))


def whole_run(peak: float) -> list[str]:
    """One run with this rate, on the seed that tuning used."""
    fixed = [word for word in STUDY if word.startswith(("eval", "stop"))]
    return [*fixed, f"lr.peak={peak!r}", "seed=0", "study.tune_seed=9"]


def test_a_pruned_row_says_when_and_with_what(pruned) -> None:
    rows = [row for row in pruned[1].rows if row["status"] == "pruned"]
    assert rows
    for row in rows:
        assert f"given up at {row['tokens']:,} tokens with {row['valid_bpb']:.4f}" in row["reason"]
        assert row["test_bpb"] is None


def test_reports_that_are_no_numbers_neither_give_up_nor_break(tmp_path: Path) -> None:
    typed = ("lr.peak=tag(log, interval(4e-2, 1e-1))", "sampler=random", "pruner=median", "pruner.startup=1")
    rows = run_study(tmp_path, *typed, "study.trials=4", "study.lag=1", "seed=1", target=targets.reporting).rows
    assert len(rows) == 5
    for row in rows:
        assert row["status"] == "complete" or row["lr.peak"] < 0.05
