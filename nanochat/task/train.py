"""`task=train`: train one model, or go on with it, and show what came out."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from nanochat.run.execute import FINAL, execute, finished
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.terminal import Terminal
from nanochat.task.base import TaskSpec


class TrainSpec(TaskSpec):
    """Train the run; the same command again shows its result, or continues what was stopped."""

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        folder = RunFolder(settings.paths.runs / identify(run, cache=settings.paths.cache))
        result = finished(folder, settings=settings)
        again = result is not None
        if result is None:
            with Terminal() as control:
                result = execute(run, settings=settings, control=control)
        show(result, folder=folder, again=again)
        if result["status"] == "stopped":
            return 130
        return 0 if result["status"] in FINAL else 1


def show(result: dict[str, Any], *, folder: RunFolder, again: bool) -> None:
    """Print a run's result at 80 columns."""
    console = Console(highlight=False, soft_wrap=True)
    status = result["status"]
    if status == "stopped":
        console.print(f"run {folder.key} stopped {result['reason']}; the same command continues")
    elif status != "complete":
        console.print(f"run {folder.key} {status}: {result['reason']}")
    else:
        console.print(f"run {folder.key} {'was complete already' if again else 'is complete'}")
        console.print(_table(result))
        for tokens in folder.milestones():
            console.print(f"longer runs can go on from it: start.run={folder.key} start.tokens={tokens}")
    console.print(f"files: {folder.path}")


def _table(result: dict[str, Any]) -> Table:
    table = Table("", "bits per byte", "loss (nats/token)", "perplexity", box=None, pad_edge=False)
    for split in ("test", "valid"):
        score = result[split]
        table.add_row(split, f"{score['bpb']:.4f}", f"{score['loss']:.4f}", f"{score['perplexity']:.2f}")
    reference = result["reference"]
    table.add_row("unigram", f"{reference['unigram_bpb']:.4f}", "", "")
    if reference["entropy_bpb"] is not None:
        table.add_row("entropy", f"{reference['entropy_bpb']:.4f}", "", "")
    table.caption = (
        f"{result['params']:,} parameters · {result['tokens']:,} tokens · "
        f"{result['coverage']['share']:.0%} of the corpus ({result['coverage']['epochs']:.2f} epochs) · "
        f"{result['seconds']:.0f} s"
    )
    table.caption_justify = "left"
    return table
