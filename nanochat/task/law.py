"""`task=law`: a scaling law from a table of runs, anyone's or a study's, with its intervals and its held-out error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from nanochat.core.artifact import sha256_file, write_json
from nanochat.core.provenance import provenance
from nanochat.core.spec import Int, Positive, dump, hash_of
from nanochat.law.bootstrap import interval, resampled
from nanochat.law.fit import Fit, fit
from nanochat.law.heldout import HeldOut, held_out
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.table import Points, read_points
from nanochat.run.spec import settings
from nanochat.study import table
from nanochat.study.reopen import find
from nanochat.task.base import StudyTaskSpec

# Without `task.flops` the law answers for so many times the largest compute that it was fitted to.
FURTHER = 10.0

# Held out: at least so many times the largest compute that is left.
AHEAD = 3.0


class LawSpec(StudyTaskSpec):
    """Fit L(N, D) = E + A/N^α + B/D^β to a CSV table, or to the results of `study.name`; write it as JSON."""

    data: str | None
    n: str
    d: str
    loss: str | None
    flops: Positive | None
    resamples: Annotated[Int, Field(ge=40)]
    seed: Int
    out: str | None

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        path = Path(self.data).expanduser() if self.data else find(config) / table.FILE
        points = read_points(path, n=self.n, d=self.d, loss=self.loss or ("loss" if self.data else "test_bpb"))
        inputs, flops = {"n": points.n, "d": points.d}, 6 * points.n * points.d
        found = fit(Hoffmann, inputs, points.loss)
        laws = resampled(
            inputs, points.loss,
            clusters=points.clusters, near=found.law, count=self.resamples, seed=self.seed,
        )  # fmt: skip
        cuts = held_out(Hoffmann, inputs, points.loss, compute=flops, enough=points.enough)
        ahead = next((cut for cut in cuts if cut.ratio >= AHEAD), None)
        compute = self.flops or FURTHER * float(np.max(flops))
        about = {"file": str(path), "sha256": sha256_file(path), "options": dump(self), **provenance()}
        told = report(found, laws, points=points, compute=compute, ahead=ahead) | {"provenance": about}
        name = f"{hash_of([about['sha256'], about['options']])}.json"
        out = Path(self.out).expanduser() if self.out else settings(config).paths.root / "laws" / name
        write_json(out, told)
        show(told, Console(highlight=False), out=out)
        return 0


def quantities(compute: float) -> dict[str, Callable[[Hoffmann], float]]:
    """What is told of a law; raw A and B say almost nothing by themselves."""
    return {
        "alpha": lambda law: law.alpha,
        "beta": lambda law: law.beta,
        "E": lambda law: law.E,
        "a": lambda law: law.exponent,
        "params": lambda law: law.params(compute),
        "tokens": lambda law: law.tokens(compute),
        "loss": lambda law: law.best(compute),
    }


def report(
    found: Fit[Hoffmann], laws: Sequence[Hoffmann], *, points: Points, compute: float, ahead: HeldOut | None
) -> dict[str, Any]:
    """All of it as plain data."""
    told = {
        name: {"value": value(found.law), "interval": list(interval(laws, value))}
        for name, value in quantities(compute).items()
    }
    return {
        "form": "L = E + A/N^alpha + B/D^beta, C = 6ND",
        "law": asdict(found.law),
        "at_flops": compute,
        "told": told,
        "interval": f"95%, percentiles of {len(laws)} fits to runs drawn again",
        "objective": {"name": "sum of Huber losses of log residuals, delta 1e-3", "value": found.objective},
        "certificate": asdict(found.certificate),
        "held_out": asdict(ahead) if ahead else None,
        "rows": {"used": len(points.loss), "excluded": dict(points.excluded)},
        "keys": [key for key in points.clusters if not key.isdigit()],
    }


def show(told: Mapping[str, Any], console: Console, *, out: Path) -> None:
    """The law at 80 columns."""
    rows = told["rows"]
    left_out = ", ".join(f"{count} {reason}" for reason, count in rows["excluded"].items())
    console.print(f"{told['form']} · {rows['used']} runs" + (f" (left out: {left_out})" if left_out else ""))
    grid = Table(box=None, pad_edge=False)
    for name in ("", "", "95% interval"):
        grid.add_column(name, justify="left" if not grid.columns else "right")
    names = {"a": "a, of N* ∝ C^a", "params": "N*", "tokens": "D*", "loss": "loss there"}
    for name, item in told["told"].items():
        if name == "params":
            grid.add_row(f"at {told['at_flops']:.3g} FLOPs")
        low, high = item["interval"]
        form = ".3e" if name in ("params", "tokens") else ".4f"
        grid.add_row(names.get(name, name), f"{item['value']:{form}}", f"{low:{form}} to {high:{form}}")
    console.print(grid)
    ahead, sure = told["held_out"], told["certificate"]
    if ahead:
        error = f"{ahead['error']:.2%} off on {ahead['rows']} runs, {ahead['ratio']:.1f} times further in compute"
        console.print(f"held out: fitted without the largest budgets, it is {error}")
    else:
        console.print("held out: too few runs to leave the largest budgets out")
    bounds = f"; on a bound: {', '.join(sure['bounds'])}" if sure["bounds"] else ""
    moved = f"the best moved by {sure['moved']:.2f} in its exponents"
    console.print(f"{sure['agree']:.0%} of {sure['starts']} starts agree; {moved}{bounds}")
    console.print(f"law: {out}", soft_wrap=True)
