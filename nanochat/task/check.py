"""`task=check`: the sanity check of a configuration before anything is spent on it."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nanochat.check.base import Result
from nanochat.check.examine import CHECKS, examine
from nanochat.check.subject import ROWS, TIME, Subject
from nanochat.core.progress import track
from nanochat.run.spec import RunSpec, Settings
from nanochat.task.base import TaskSpec

MARKS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "not applicable": "–"}

SMALL = 1e10
"""FLOPs of a training step of a check, up to which one thread is enough (a tenth of a second)."""


class CheckSpec(TaskSpec):
    """Look for the usual mistakes in the run's own model, texts, objective and schedule; one line a check.

    The exit code is 0 where nothing failed, 1 where something did. Nothing is kept of what is tried.
    """

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        torch.set_num_threads(threads(run))
        subject = Subject.open(run, settings=settings)
        results = dict(track(examine(subject), total=len(CHECKS), label="checking"))
        show(results, subject)
        return 1 if any(result.status == "failed" for result in results.values()) else 0


def threads(run: RunSpec) -> int:
    """Those of the run, but one for small models: several would wait for each other longer than they work."""
    assert run.trainer.threads is not None
    return 1 if run.cost.flops_mfu * ROWS * TIME < SMALL else run.trainer.threads


def show(results: dict[str, Result], subject: Subject) -> None:
    """The table, then what to do about each failure, the first of them the likeliest cause of the rest."""
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in ("mark", "name"):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, result in results.items():
        found = "see below" if result.status == "failed" else result.found
        table.add_row(MARKS[result.status], name, Text(found))
    console.print(table)
    rows, time = subject.inputs.shape
    console.print(f"tried on {rows} sequences of {time} tokens; the run has {subject.spec.context} in each")
    if subject.note:
        console.print(subject.note)
    failures = {name: result for name, result in results.items() if result.status == "failed"}
    for name, result in failures.items():
        console.print(Text.assemble("\n", ("✗", "red"), " ", (name, "bold"), f": {result.found}. {result.remedy}"))
    if not failures:
        console.print("every check passed")
