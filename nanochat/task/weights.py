"""`task=weights`: which weights of a trained model are effective, and which redundant."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from pydantic import field_validator
from rich.console import Console
from rich.table import Table

from nanochat.core.artifact import write_json
from nanochat.core.errors import spec_error
from nanochat.core.progress import track
from nanochat.core.spec import Count, Int, Share
from nanochat.report.weights import write_page
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.trained import load_trained
from nanochat.task.base import TaskSpec
from nanochat.weights.examine import costs, examine
from nanochat.weights.findings import Findings, percent
from nanochat.weights.sample import Sample


class WeightsSpec(TaskSpec):
    """Examine a trained model: spectra of its matrices, what each head, expert and branch is worth, dead units, and
    how many weights can go. Nothing is trained, and test documents are never read.

    run: key of the run; null: the run that the rest of the command line describes · bytes: of valid text scored in
    each measurement, at least · shares: of weights removed, besides none · seed: of the removal at random · out: where
    page and JSON go; null: `weights/<key>` beside the runs. It computes on the command line's device and threads, in
    the precision of the run.
    """

    run: str | None
    bytes: Count
    shares: tuple[Share, ...]
    seed: Int
    out: str | None

    @field_validator("shares")
    @classmethod
    def _shares_differ(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or len(set(shares)) < len(shares) or 0 in shares:
            rule = "must be one or more different shares above 0"
            raise spec_error("", list(shares), rule, "try [0.2,0.5,0.8]; 0 is measured anyway")
        return shares

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        key = self.run or identify(run, cache=settings.paths.cache)
        folder = RunFolder(settings.paths.runs / key)
        check_complete(folder)
        assert run.trainer.threads is not None and run.trainer.device != "auto", "unresolved"
        torch.set_num_threads(run.trainer.threads)
        trained = load_trained(folder, settings=settings)
        trained.spec.attention.check_device(run.trainer.device)
        sample = Sample.open(trained, bytes=self.bytes, device=run.trainer.device, settings=settings)
        sizes = costs(sample, fractions=self.shares)
        steps = track(sizes, total=sum(sizes), label="examining", size=float)
        found = examine(sample, run=key, fractions=self.shares, seed=self.seed, step=lambda: next(steps, None))
        for _ in steps:  # fewer halvings than there may be leave some over; the end takes the bar away
            pass
        out = Path(self.out).expanduser().absolute() if self.out else settings.paths.root / "weights" / key
        write_json(out / "weights.json", found.plain())
        write_page(found, out / "weights.html")
        show(found)
        Console(highlight=False, soft_wrap=True, markup=False).print(f"page: {out / 'weights.html'}")
        return 0


def check_complete(folder: RunFolder) -> None:
    """Raises `SpecError` for a run that has begun and is not complete, saying what became of it."""
    result = folder.result()
    if result is not None and result["status"] != "complete":
        reason = f" ({result['reason']})" if result["reason"] else ""
        remedy = "the same command with task=train goes on with it" if result["status"] == "stopped" else ""
        rule = f"is {result['status']}{reason}, and only a complete run has weights to examine"
        raise spec_error("task.run", folder.key, rule, remedy)


def show(found: Findings) -> None:
    """One line a block and the verdict, at 80 columns."""
    console = Console(highlight=False, markup=False)
    table = Table(title="bits per byte without it, by block", title_justify="left", box=None, pad_edge=False)
    table.add_column("block")
    for name in ("attention", "ffn", "a head", "an expert", "dead units", "rank kept"):
        table.add_column(name, justify="right")
    for layer in sorted({effect.layer for effect in found.effects}):
        table.add_row(str(layer), *cells(found, layer=layer))
    console.print(table)
    for sentence in found.verdict:
        console.print(sentence)
    for note in found.notes:
        console.print(note)


def cells(found: Findings, *, layer: int) -> list[str]:
    """What the table says of one block; a dash where there is no such thing."""

    def rises(*kinds: str) -> str:
        values = [effect.rise / found.bpb for effect in found.of_kind(*kinds) if effect.layer == layer]
        texts = (
            [f"{value:+.1%}" if math.isfinite(value) else "breaks" for value in (min(values), max(values))]
            if values
            else []
        )
        return "…".join(dict.fromkeys(texts)) or "–"

    units = [each for each in found.units if each.layer == layer]
    dead = f"{sum(each.dead for each in units):,}/{sum(len(each.norms) for each in units):,}" if units else "–"
    kept = [matrix.kept for matrix in found.matrices if matrix.layer == layer and matrix.kept is not None]
    rank = f"{percent(min(kept))}…{percent(max(kept))}" if kept else "–"
    branches = (rises(f"{kind} branch") for kind in ("attention", "ffn"))
    return [*branches, rises("head"), rises("expert", "shared expert"), dead, rank]
