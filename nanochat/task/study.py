"""`-m`: carry out a study, show its table and a sample of its best model, write its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from nanochat.report.frame import Frame, read_frame
from nanochat.report.page import write_page
from nanochat.report.planned import view
from nanochat.report.terminal import arms_table
from nanochat.run.folder import RunFolder
from nanochat.run.trained import load_trained
from nanochat.study.compare import Outcome, open_study, work_on
from nanochat.task.base import validate
from nanochat.task.plan import plan_study
from nanochat.task.train import TrainSpec

PAGE = "results.html"

# What the sample of a study's best model is drawn with: the same words every time.
DRAWING = {"prompt": "", "tokens": 400, "temperature": 0.7, "top_k": None, "seed": 0}


def sweep(config: Mapping[str, Any], overrides: Sequence[str]) -> int:
    """Work on the study that the overrides of a `-m` command describe; returns the exit code."""
    _, how, task = validate(config)
    study = open_study(config, overrides)
    if not isinstance(task, TrainSpec):
        return task.survey(study)
    console = Console(highlight=False)
    plan = plan_study(study)
    if plan.left:
        console.print(*view(plan), sep="\n")
    outcome = work_on(study)
    frame = read_frame(study.folder, settings=how)
    if not outcome.complete:
        console.print(arms_table(frame))
        console.print(f"study {frame.name}: stopped; the same command continues", soft_wrap=True)
        return 130
    sample = best_sample(outcome)
    page = study.folder / PAGE
    write_page(frame, page, sample=sample)
    show(frame, console, again=outcome.again, sample=sample)
    console.print(f"page: {page}", soft_wrap=True)
    console.print(f"notebook: {study.notebook}", soft_wrap=True)
    return 0


def show(frame: Frame, console: Console, *, again: bool, sample: str) -> None:
    """The table, the verdict in words and the sample."""
    if again:
        console.print(f"study {frame.name} is complete: nothing left to run")
    console.print(arms_table(frame))
    console.print(frame.verdict)
    if sample:
        console.rule("a sample of the best model", align="left")
        console.print(sample, markup=False, soft_wrap=True)
        console.rule()


def best_sample(outcome: Outcome) -> str:
    """Text from the confirming run with the best test score; empty where every run failed."""
    scored = [row for row in outcome.rows if row["phase"] == "seed" and row["test_bpb"] is not None]
    if not scored:
        return ""
    best = min(scored, key=lambda row: row["test_bpb"])
    how = outcome.study.settings
    trained = load_trained(RunFolder(how.paths.runs / best["key"]), settings=how)
    return trained.sample(**DRAWING)
