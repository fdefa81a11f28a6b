"""`eval.parquet`: the scores of a run as one table with a versioned schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.core.artifact import atomic_path
from nanochat.core.errors import MachineError
from nanochat.eval.scores import Bins, Scores, Tally

VERSION = "1"
VERSION_KEY = b"nanochat.eval"
BIN_KINDS = ("position", "frequency", "confidence")

# kind: document, or the property whose bin the row is. A document has name and hash, a bin has low ≤ x < high.
SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("hash", pa.string()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("nats", pa.float64(), nullable=False),
        pa.field("correct", pa.int64(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
    ],
    metadata={VERSION_KEY: VERSION.encode()},
)


def write_record(path: Path, scores: Scores) -> None:
    """Write the scores atomically: a row per document, then a row per bin."""
    count = len(scores.names)
    rows = _columns("document", scores.documents, count)
    tables = [{**rows, "name": list(scores.names), "hash": list(scores.hashes)}]
    for kind in BIN_KINDS:
        part: Bins = getattr(scores, kind)
        tables.append({**_columns(kind, part.tally, len(part.low)), "low": part.low, "high": part.high})
    table = pa.concat_tables([pa.Table.from_pydict(columns, schema=SCHEMA) for columns in tables])
    with atomic_path(path) as part_path:
        pq.write_table(table, part_path)


def read_record(path: Path) -> Scores:
    """The scores in `path`. Raises `MachineError` when the file is missing, damaged or of another version."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise MachineError(f"{path}: is missing or damaged ({error}); run it again") from error
    version = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
    if version != VERSION:
        raise MachineError(f"{path}: has schema version {version}, this program reads {VERSION}; run it again")
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    documents = columns["kind"] == "document"
    return Scores(
        names=tuple(columns["name"][documents]),
        hashes=tuple(columns["hash"][documents]),
        documents=_tally(columns, documents),
        **{kind: _bins(columns, columns["kind"] == kind) for kind in BIN_KINDS},
    )


def _columns(kind: str, tally: Tally, count: int) -> dict[str, Any]:
    empty = {"name": [None] * count, "hash": [None] * count, "low": [None] * count, "high": [None] * count}
    return {"kind": [kind] * count, **empty, **tally._asdict()}


def _tally(columns: dict[str, np.ndarray], rows: np.ndarray) -> Tally:
    return Tally(*(columns[name][rows] for name in Tally._fields))


def _bins(columns: dict[str, np.ndarray], rows: np.ndarray) -> Bins:
    return Bins(columns["low"][rows], columns["high"][rows], _tally(columns, rows))
