"""The end of a command that worked on a study: its table, a sample of its best model, its page."""

from __future__ import annotations

from rich.console import Console

from nanochat.report.frame import Frame, read_frame
from nanochat.report.results import write_page
from nanochat.report.terminal import arms_table, front_table
from nanochat.run.folder import RunFolder
from nanochat.run.trained import load_trained
from nanochat.study.compare import Outcome
from nanochat.study.dead import DeadKnob, dead_knobs

PAGE = "results.html"

# What the sample of a study's best model is drawn with: the same words every time.
DRAWING = {"prompt": "", "tokens": 400, "temperature": 0.7, "top_k": None, "seed": 0}


def conclude(outcome: Outcome, *, console: Console) -> int:
    """Show how the study stands, write its page where it is complete; returns the exit code."""
    study, how = outcome.study, outcome.study.settings
    frame = read_frame(study.folder, settings=how)
    if not outcome.complete:
        console.print(arms_table(frame))
        console.print(f"study {frame.name}: stopped; the same command continues", soft_wrap=True)
        return 130
    sample, dead = best_sample(outcome), dead_knobs(outcome.rows, runs=how.paths.runs)
    page = study.folder / PAGE
    write_page(frame, page, sample=sample, dead=[str(knob) for knob in dead])
    show(frame, console, again=outcome.again, sample=sample, dead=dead)
    console.print(f"page: {page}", soft_wrap=True)
    console.print(f"notebook: {study.notebook}", soft_wrap=True)
    return 0


def show(frame: Frame, console: Console, *, again: bool, sample: str, dead: list[DeadKnob]) -> None:
    """The table, the verdict in words, what changed nothing, and the sample."""
    if again:
        console.print(f"study {frame.name} is complete: nothing left to run")
    console.print(arms_table(frame))
    console.print(frame.verdict, markup=False)
    if len(frame.definition.objectives) > 1:
        console.print(front_table(frame))
    for knob in dead:
        console.print(f"dead knob: {knob}", markup=False)
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
