"""A study's folder in the lab notebook: small files, from which its report can be made again on any machine.

`study.json` (the frozen definition), `results.csv` (a row for every run), `curves.parquet` (their metrics over time),
`scores.parquet` (what confirming runs scored, document by document and bin by bin), `evidence.json` (where it all
comes from, samples, costs). What follows from these is written beside them: `verdicts.json` (of a scaling
study `law.json`, a law for each arm), `README.md`, `verdict.svg`, and `report.html`, which is not committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.core.artifact import atomic_path
from nanochat.core.errors import MachineError

CURVES, SCORES, EVIDENCE = "curves.parquet", "scores.parquet", "evidence.json"
VERDICTS, LAW = "verdicts.json", "law.json"
README, PICTURE, PAGE = "README.md", "verdict.svg", "report.html"

# What to do about a file that cannot be read.
AGAIN = "take it from the notebook's history, or make it again where the study was run"

Columns = Mapping[str, np.ndarray]


def write_curves(path: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The rows of metrics.csv by the key of the run; a column that a run lacks is empty."""
    names = list(dict.fromkeys(name for rows in curves.values() for row in rows for name in row))
    columns: dict[str, Any] = {"key": [key for key, rows in curves.items() for _ in rows]}
    for name in names:
        columns[name] = pa.array(
            [row.get(name) for rows in curves.values() for row in rows],
            type=pa.int64() if name in ("step", "tokens") else pa.float64(),
        )
    write_table(path, pa.table({**columns, "key": pa.array(columns["key"], type=pa.string()).dictionary_encode()}))


def write_table(path: Path, table: pa.Table) -> None:
    """A table, atomically and small."""
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd", compression_level=9)


def read_by_key(path: Path) -> dict[str, Columns]:
    """The columns of each run in a table with a column `key`, {} where there is no file; empty cells are NaN.

    Rows of one run keep their order; in what order runs come, or whether they are mixed, is all the same.

    Raises `MachineError` for a file that cannot be read.
    """
    if not path.exists():
        return {}
    try:
        table = pq.read_table(path).to_pydict()
        keys = np.array(table.pop("key"), dtype=str)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise MachineError(f"{path}: cannot be read ({error}); {AGAIN}") from error
    columns = {name: _array(values) for name, values in table.items()}
    names, of_row = np.unique(keys, return_inverse=True)
    order = np.argsort(of_row, kind="stable")
    borders = np.cumsum(np.bincount(of_row, minlength=len(names)))[:-1]
    parts = np.split(order, borders) if len(names) else []
    return {
        str(name): {column: values[rows] for column, values in columns.items()}
        for name, rows in zip(names, parts, strict=True)
    }


def _array(values: Sequence[Any]) -> np.ndarray:
    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    return np.array([np.nan if value is None else value for value in values], dtype=float)
