"""Laws whose numbers are known, and the tables that others published."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np

from nanochat.law.hoffmann import Hoffmann
from tests.shared_texts import shared_scaling

GRID = np.array([(n, c / 6 / n) for c in (1e18, 1e19, 1e20) for n in np.geomspace(1e7, 1e9, 7)])
N, D = GRID.T
INPUTS = {"n": N, "d": D}
TRUTH = Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.28)
EXACT: Any = TRUTH.loss(N, D)

Table = tuple[dict[str, np.ndarray], np.ndarray]


def noisy(seed: int, *, size: float = 0.004) -> np.ndarray:
    """The losses of `TRUTH` with noise of their log."""
    return EXACT * np.exp(np.random.default_rng(seed).normal(size=len(N)) * size)


def cs336() -> Table:
    """72 points without noise."""
    rows = json.loads(shared_scaling("cs336/isoflops_curves.json").read_text())
    n = np.array([float(row["parameters"]) for row in rows])
    d = np.array([row["compute_budget"] for row in rows]) / 6 / n
    return {"n": n, "d": d}, np.array([row["final_loss"] for row in rows])


def besiroglu() -> Table:
    """The points extracted from Chinchilla's figure, without the five highest losses (2404.10102)."""
    path = shared_scaling("besiroglu/svg_extracted_data.csv")
    rows = sorted(csv.DictReader(path.open()), key=lambda row: float(row["loss"]))[:-5]
    n = np.array([float(row["Model Size"]) for row in rows])
    d = np.array([float(row["Training FLOP"]) for row in rows]) / 6 / n
    return {"n": n, "d": d}, np.array([float(row["loss"]) for row in rows])


def porian() -> Table:
    """The tuned runs at a constant rate (2406.19146)."""
    rows = list(csv.DictReader(shared_scaling("porian/isoflop_points.csv").open()))
    rows = [row for row in rows if (row["hparams"], row["decay"]) == ("tuned", "const")]
    n, d, loss = (np.array([float(row[name]) for row in rows]) for name in ("N", "D", "loss"))
    return {"n": n, "d": d}, loss


def olmo_ladder() -> Table:
    """Four sizes at five lengths each."""
    rows = list(csv.DictReader(shared_scaling("olmo_ladder/decay_runs_up_to_1.3B.csv").open()))
    n, d, loss = (np.array([float(row[name]) for row in rows]) for name in ("N", "D", "c4_loss"))
    return {"n": n, "d": d}, loss
