"""Anyone's table of runs: the rows that a law is fitted to, and those that are left out, with the reason."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.core.errors import nearest, spec_error
from nanochat.law.checks import insist, of_places
from nanochat.law.hoffmann import Array

# Of a study's results only what confirms an arm, or was planned as a point of a law, counts.
PHASES = ("seed", "point")

Cells = Mapping[str, str]
Where = Callable[[Cells], bool]


@dataclass(frozen=True)
class Points:
    """n, d, loss: parameters, tokens and loss of each row that counts · clusters: the run that each is of · excluded:
    how many rows, by reason · c: compute, as the table says or 6ND · measured: whether the table says it apart from N
    and D · inputs: further columns by name. n, d and c are nan where the table does not say them."""

    n: Array
    d: Array
    loss: Array
    clusters: Sequence[str]
    excluded: Mapping[str, int]
    c: Float[ndarray, "runs"]
    measured: bool = False
    inputs: Mapping[str, Array] = field(default_factory=dict)

    def enough(self, kept: ndarray) -> bool:
        """Whether some of the rows still tell N from D."""
        return not of_places(self.n[kept], self.d[kept])


def read_points(
    path: Path,
    *,
    n: str,
    loss: str,
    d: str | None = None,
    c: str | None = None,
    cluster: str | None = None,
    inputs: Sequence[str] = (),
    where: Where | None = None,
) -> Points:
    """`read_table`, and refuse rows that cannot tell N from D."""
    if d is None and c is None:
        raise spec_error("task.d", None, "neither tokens nor compute are told", "name a column for task.d or task.c")
    points = read_table(path, n=n, loss=loss, d=d, c=c, cluster=cluster, inputs=inputs, where=where)
    insist(of_places(points.n, points.d), key="task.data", value=str(path))
    return points


def read_table(
    path: Path,
    *,
    n: str | None,
    loss: str,
    d: str | None = None,
    c: str | None = None,
    cluster: str | None = None,
    inputs: Sequence[str] = (),
    signed: Sequence[str] = (),
    where: Where | None = None,
) -> Points:
    """Read a CSV table with a header, by the names of its columns.

    Without `d`, tokens are C/6N. `cluster`: the column that says which rows are of one run, by default a study's `key`,
    of the run that by `start` all others of its trunk went back to; else every row is a run. `inputs`: further columns;
    `signed` of them need not be above zero. Without `n` the rows have no parameters: for forms that do not read them.
    `where`: which rows are of the arm that is meant. Raises `SpecError` for columns that are not there and where no row
    counts.
    """
    columns, rows = _rows(path)
    named = {"n": n, "loss": loss, "d": d, "c": c, "cluster": cluster}
    _insist_on_columns({k: v for k, v in named.items() if v} | dict.fromkeys(inputs, ""), columns, path=path)
    numbers = [name for name in (n, loss, d, c, *inputs) if name]
    reasons = _reasons(rows, numbers, signed)
    if where is not None:
        reasons = [reason if where(row) else "another arm" for row, reason in zip(rows, reasons, strict=True)]
    used = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    excluded = Counter(reason for reason in reasons if reason)
    if not used:
        raise spec_error("task.data", str(path), "no row counts", _told(excluded) or "it has a header alone")
    column = {name: np.array([float(row[name]) for row in used]) for name in numbers}
    unknown: Array = np.full(len(used), np.nan)
    params = column[n] if n else unknown
    tokens = column[d] if d else column[c] / 6 / params if c else unknown
    return Points(
        params,
        tokens,
        column[loss],
        clusters=[row.get(cluster) or str(i) for i, row in enumerate(used)] if cluster else _trunks(used),
        excluded=excluded,
        c=column[c] if c else 6 * params * tokens,
        measured=bool(n and c and d),
        inputs={name: column[name] for name in inputs},
    )


def _trunks(rows: Sequence[Cells]) -> list[str]:
    """Of each row the run that it goes back to: longer runs that went on from shorter ones are not independent."""
    before = {row["key"]: row.get("start") or "" for row in rows if row.get("key")}
    found = []
    for i, row in enumerate(rows):
        key = row.get("key") or str(i)
        for _ in before:  # no chain is longer, whatever a table claims
            key = before[key] if before.get(key) in before else key
        found.append(key)
    return found


def _rows(path: Path) -> tuple[list[str], list[Cells]]:
    """The header, and the rows under it."""
    if not path.is_file():
        raise spec_error("task.data", str(path), "no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows: list[Cells] = list(reader)
            return list(reader.fieldnames or ()), rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise spec_error("task.data", str(path), "is not a CSV table", str(error)) from None


def _insist_on_columns(named: Mapping[str, str], columns: Sequence[str], *, path: Path) -> None:
    """`named`: columns by the key that names them; "" for a further input, which names itself."""
    for key, name in named.items():
        if (name or key) not in columns:
            place = f"task.{key}" if name else "task.inputs"
            raise spec_error(place, name or key, f"{path.name} has no such column", nearest(name or key, columns))


def _reasons(rows: Sequence[Cells], numbers: Sequence[str], signed: Sequence[str]) -> list[str | None]:
    """Why each row does not count; None where it does."""
    seen: set[tuple[str, ...]] = set()
    reasons = []
    for row in rows:
        reason = _excluded(row, numbers, signed)
        cells = tuple(str(cell) for cell in row.values())
        reasons.append(reason or ("duplicate" if cells in seen else None))
        seen.add(cells)
    return reasons


def _excluded(row: Cells, numbers: Sequence[str], signed: Sequence[str]) -> str | None:
    if row.get("status", "complete") != "complete":
        return row["status"] or "no status"
    if row.get("phase", PHASES[0]) not in PHASES:
        return "tuning"
    try:
        values = {name: float(row[name]) for name in numbers}
    except (TypeError, ValueError):
        return "no number"
    if any(math.isnan(value) for value in values.values()):
        return "no number"
    fine = all(math.isfinite(value) and (value > 0 or name in signed) for name, value in values.items())
    return None if fine else "not above zero"


def _told(excluded: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in excluded.items())
