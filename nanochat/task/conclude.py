"""The end of a command that worked on a study: its verdict, its files in the lab notebook, its page."""

from __future__ import annotations

from rich.console import Console

from nanochat.report import words
from nanochat.report.analysis import Analysis
from nanochat.report.collect import collect
from nanochat.report.frame import Frame
from nanochat.report.notebook import PAGE
from nanochat.report.terminal import arms_tables, front_table
from nanochat.report.write import write_report
from nanochat.study.compare import Outcome


def conclude(outcome: Outcome, *, console: Console) -> int:
    """Show how the study stands, write its report where it is complete; returns the exit code."""
    study = outcome.study
    if not outcome.complete:
        console.print(*arms_tables(Analysis(Frame(study.definition, outcome.rows))), sep="\n")
        console.print(f"study {study.definition.name}: stopped; the same command continues", soft_wrap=True)
        return 130
    collect(study.definition, outcome.rows, settings=study.settings, notebook=study.notebook, total=len(outcome.rows))
    analysis = write_report(study.notebook)
    if outcome.again:
        console.print(f"study {study.definition.name} is complete: nothing left to run")
    show(analysis, console)
    console.print(f"page: {study.notebook / PAGE}", soft_wrap=True)
    return 0


def show(analysis: Analysis, console: Console) -> None:
    """The tables, the verdict in words, what limits it, and a sample of the best model."""
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
    if sample := best_sample(frame):
        console.rule("a sample of the best model", align="left")
        console.print(sample, markup=False, soft_wrap=True)
        console.rule()


def best_sample(frame: Frame) -> str:
    """What the run with the best test score among those that were read wrote; empty where there is none."""
    samples = frame.evidence.get("samples", {})
    scored = [row for row in frame.complete("seed") if row["key"] in samples]
    if not scored:
        return ""
    best = min(scored, key=lambda row: row["test_bpb"])
    return samples[best["key"]]["drawn"]["texts"][0]
