"""The end of a command that worked on a study: its verdict, its files in the lab notebook, its page."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType

from nanochat.report import words
from nanochat.report.analysis import Analysis
from nanochat.report.collect import collect
from nanochat.report.evidence import CONFIRMING
from nanochat.report.frame import Frame
from nanochat.report.notebook import PAGE
from nanochat.report.scaling import Scaling
from nanochat.report.scaling_terminal import grid_tables, spent_line, view
from nanochat.report.terminal import arms_tables, front_table
from nanochat.report.write import write_report
from nanochat.study.work import Outcome


def conclude(outcome: Outcome, *, console: Console) -> int:
    """Show how the study stands, write its report where it is complete; returns the exit code."""
    study = outcome.study
    if not outcome.complete:
        console.print(*so_far(Frame(study.definition, outcome.rows)), sep="\n")
        console.print(f"study {study.definition.name}: stopped; the same command continues", soft_wrap=True)
        return 130
    collect(study.definition, outcome.rows, settings=study.settings, notebook=study.notebook, total=len(outcome.rows))
    found = write_report(study.notebook)
    if outcome.again:
        console.print(f"study {study.definition.name} is complete: nothing left to run")
    show(found, console)
    console.print(f"page: {study.notebook / PAGE}", soft_wrap=True)
    return 0


def so_far(frame: Frame) -> Iterable[RenderableType]:
    """The tables of a study that was stopped. A law is fitted when it is complete, or by `task=report`."""
    if frame.definition.design is None:
        return arms_tables(Analysis(frame))
    scaling = Scaling(frame)
    return [*grid_tables(scaling), spent_line(scaling)]


def show(found: Analysis | Scaling, console: Console) -> None:
    """The tables, what they come to in words, what limits that, and a sample of the best model."""
    if isinstance(found, Scaling):
        console.print(*view(found), sep="\n")
        for name, answer in found.answers.items():
            console.print(
                f"to train {'it' if len(found.names) == 1 else name}: {answer['command']}", soft_wrap=True, markup=False
            )
    else:
        _show_comparison(found, console)
    if sample := best_sample(found.frame):
        console.rule("a sample of the best model", align="left")
        console.print(sample, markup=False, soft_wrap=True)
        console.rule()


def _show_comparison(analysis: Analysis, console: Console) -> None:
    frame = analysis.frame
    console.print(*arms_tables(analysis), sep="\n")
    for sentence in words.verdict(analysis):
        console.print(sentence, markup=False)
    for caveat in words.caveats(analysis):
        console.print(f"· {caveat}", markup=False, style="dim")
    if len(frame.definition.objectives) > 1:
        console.print(front_table(frame))
    for knob in frame.evidence.get("dead", []):
        console.print(f"dead knob: {knob}", markup=False)


def best_sample(frame: Frame) -> str:
    """What the run with the best test score among those that were read wrote; empty where there is none."""
    samples = frame.evidence.get("samples", {})
    scored = [row for phase in CONFIRMING for row in frame.complete(phase) if row["key"] in samples]
    if not scored:
        return ""
    best = min(scored, key=lambda row: row["test_bpb"])
    return samples[best["key"]]["drawn"]["texts"][0]
