"""Scaling studies for tests of their reports: real definitions of two arms, losses by laws that are known."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nanochat.core.artifact import write_json, write_text
from nanochat.core.compose import compose, parse_overrides
from nanochat.law.hoffmann import Hoffmann
from nanochat.report.notebook import EVIDENCE
from nanochat.study import table
from nanochat.study.compare import open_study
from nanochat.study.definition import FILE, Definition, plain
from nanochat.study.design import alone, families
from nanochat.study.grid import Cell, first_cells, tuned_sizes
from nanochat.study.table import Row
from tests.runs import SMALL

# The second wins where there is much compute.
LAWS = {
    "gqa": Hoffmann(E=1.1, A=30.0, B=60.0, alpha=0.40, beta=0.40),
    "mla": Hoffmann(E=1.0, A=35.0, B=70.0, alpha=0.40, beta=0.40),
}

STUDY = (
    "study=scaling", "attention=gqa,mla", "lr=wsd", "lr.warmup=2", "lr.peak=1e-2", "model.aspect=16",
    "study.flops=4e12", "study.levels=4", "study.breadth=5", "study.steps=8", "study.name=made", "study.slots=2",
)  # fmt: skip


@functools.cache
def definition(folder: Path) -> Definition:
    """The study as its command describes it, laid out; nothing is run."""
    base = [word for word in SMALL if not word.startswith(("model", "stop"))]
    words = [*base, *STUDY, f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    fixed = [override.text for override in parse_overrides(words) if override.sweep is None]
    return open_study(compose(fixed), words).definition


def rows(what: Definition, *, laws: Mapping[str, Hoffmann] = LAWS, noise: float = 2e-3) -> list[Row]:
    """The rates and points of the first grid, complete; rates are best at 0.01."""
    design = what.design
    assert design is not None
    draw = np.random.default_rng(0)
    found = []
    for name, sizes in families(design).items():
        places = itertools.product(tuned_sizes(design, sizes), enumerate((0.005, 0.01, 0.02)))
        for size, (number, rate) in places:
            cell = Cell(size.arm, 0, design.tokens(size.arm, 0), what.tune_seed)
            away = 0.02 * math.log(rate / 0.01) ** 2
            found.append(row(what, cell, number, law=laws[name], phase="tune", rate=rate, off=away))
    for number, cell in enumerate(first_cells(design, seeds=what.seeds)):
        off = noise * float(draw.normal())
        found.append(row(what, cell, number, law=laws[alone(cell.arm)], phase="point", rate=0.01, off=off))
    return found


def row(what: Definition, cell: Cell, number: int, *, law: Hoffmann, phase: str, rate: float, off: float) -> Row:
    """One complete run, its log loss so far off the law."""
    assert what.design is not None
    size = what.design.by_arm[cell.arm]
    loss = float(law.loss(size.params, cell.tokens)) * math.exp(off)
    flops = size.flops * cell.tokens
    spent = flops if phase == "tune" or cell.level == 0 else 0.6 * flops
    head = {"arm": cell.arm, "phase": phase, "number": number, "seed": cell.seed}
    return {
        **head,
        **{"lr.peak": rate, "stop.tokens": cell.tokens, "status": "complete", "reason": "", "tokens": cell.tokens},
        **dict.fromkeys(("valid_bpb", "valid_loss", "test_bpb", "loss"), loss),
        **{"params": float(size.params), "active_params": float(size.params), "non_embedding_params": float(size.body)},
        **{"flops": flops, "flops_spent": spent, "start": None, "state_bytes": 64.0},
        **{"key": f"{phase}{number}{cell.arm}".replace(" ", ""), "seconds": 1.0},
    }


def noted(folder: Path, what: Definition, found: Sequence[Row], *, entropy: float | None = None) -> Path:
    """Its folder in a notebook, as `collect` leaves it, but for curves. entropy: of the corpus, in bits per byte."""
    notebook = folder / "experiments" / what.name
    write_json(notebook / FILE, plain(what))
    write_text(notebook / table.FILE, table.csv_text(found, what))
    arm = {
        "run": what.runs[what.arms[0].name],
        "reference": {"unigram_bpb": 4.5, "entropy_bpb": entropy},
        "coverage": {"share": 0.5, "epochs": 0.5, "train_tokens": 2000},
    }
    parts = {"finished": len(found), "total": len(found), "missing": [], "origins": [], "texts": []}
    write_json(notebook / EVIDENCE, {"schema": 2, **parts, "arms": {what.arms[0].name: arm}, "samples": {}, "dead": []})
    return notebook


def failed(found: Row, status: str) -> Row:
    """The same run, ended in another way."""
    return {**found, "status": status, "test_bpb": None, "loss": None, "reason": f"why {status}"}


def smaller(what: Definition, count: int, found: Sequence[Row]) -> list[Row]:
    """The first points alone, and the rates."""
    return [r for r in found if r["phase"] == "tune" or r["number"] < count]


__all__ = ["LAWS", "definition", "failed", "noted", "replace", "row", "rows", "smaller"]
