"""The rows that a law is fitted to, and those that are left out, with the reason."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from nanochat.core.errors import nearest, spec_error
from nanochat.law.hoffmann import Array

# The law has five numbers; each of N and D needs a few levels to tell a power from a constant.
FEWEST_ROWS, FEWEST_LEVELS = 8, 3

# Above this correlation of log N and log D nothing tells the two apart.
CONFOUNDED = 0.99


@dataclass(frozen=True)
class Points:
    """n, d, loss: of each row that counts · clusters: the run that each is of · excluded: how many rows, by reason."""

    n: Array
    d: Array
    loss: Array
    clusters: Sequence[str]
    excluded: Mapping[str, int]

    def enough(self, kept: ndarray) -> bool:
        """Whether some of the rows still tell N from D."""
        return _problem(self.n[kept], self.d[kept]) is None


def read_points(path: Path, *, n: str, d: str, loss: str) -> Points:
    """Read a CSV table with a header. Of a study's results only complete confirming runs count.

    Raises `SpecError` for columns that are not there and for tables from which no law can be read.
    """
    if not path.is_file():
        raise spec_error("task.data", str(path), "no such file")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    for key, name in (("n", n), ("d", d), ("loss", loss)):
        if name not in columns:
            raise spec_error(f"task.{key}", name, f"{path.name} has no such column", nearest(name, columns))
    reasons = [_excluded(row, n=n, d=d, loss=loss) for row in rows]
    used = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    values = (np.array([float(row[name]) for row in used]) for name in (n, d, loss))
    clusters = [row.get("key") or str(i) for i, row in enumerate(used)]
    points = Points(*values, clusters=clusters, excluded=Counter(filter(None, reasons)))
    if problem := _problem(points.n, points.d):
        raise spec_error("task.data", str(path), problem, "add runs of other sizes and lengths")
    return points


def _excluded(row: Mapping[str, str], *, n: str, d: str, loss: str) -> str | None:
    """Why a row does not count."""
    if row.get("status", "complete") != "complete":
        return row["status"]
    if row.get("phase", "seed") != "seed":
        return "tuning"
    try:
        values = [float(row[name]) for name in (n, d, loss)]
    except (TypeError, ValueError):
        return "no number"
    return None if all(math.isfinite(value) and value > 0 for value in values) else "not above zero"


def _problem(n: Array, d: Array) -> str | None:
    """Why these rows say nothing of the law, if so."""
    distinct = len({*zip(n.tolist(), d.tolist(), strict=True)})
    if distinct < FEWEST_ROWS:
        return f"has {distinct} different points, and {FEWEST_ROWS} are the least that a law can be read from"
    for name, values in (("parameters", n), ("tokens", d)):
        if len(set(values.tolist())) < FEWEST_LEVELS:
            return f"has fewer than {FEWEST_LEVELS} different numbers of {name}"
    correlation = float(np.corrcoef(np.log(n), np.log(d))[0, 1])
    if abs(correlation) > CONFOUNDED:
        return (
            f"moves parameters and tokens together (correlation of their logs {correlation:.3f}): which of them helps?"
        )
    return None
