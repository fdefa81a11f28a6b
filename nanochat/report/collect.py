"""From the raw output of a study and its runs to its folder in the lab notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.core.artifact import write_json, write_text
from nanochat.eval.record import SCHEMA
from nanochat.logger.csv import read
from nanochat.report.evidence import earlier, evidence
from nanochat.report.notebook import CURVES, EVIDENCE, SCORES, write_curves, write_table
from nanochat.run.folder import RunFolder
from nanochat.run.spec import Settings
from nanochat.study import table
from nanochat.study.definition import FILE, Definition, plain


def collect(
    definition: Definition, rows: Sequence[table.Row], *, settings: Settings, notebook: Path, total: int | None
) -> None:
    """Write the files of the study that a report is made from. `total`: runs when it is done, None if unknown.

    Where runs are gone and none finished since, the files stay as they are: they hold more than is left here.
    """
    runs = settings.paths.runs
    known = earlier(notebook / EVIDENCE)
    found = evidence(definition, rows, settings=settings, total=total, known=known)
    write_json(notebook / FILE, plain(definition))
    if set(found["missing"]) - set(known.get("missing", found["missing"])) and known["finished"] == len(rows):
        return
    write_text(notebook / table.FILE, table.csv_text(rows, definition))
    write_curves(notebook / CURVES, {row["key"]: _curve(row, runs) for row in rows if row["key"]})
    if definition.design is None:  # a law is fitted to scores of whole runs
        write_table(notebook / SCORES, _scores(rows, runs))
    write_json(notebook / EVIDENCE, found)


def _curve(row: table.Row, runs: Path) -> list[table.Row]:
    """All rows of a confirming run; of a tuning trial, of which there may be thousands, those with a validation."""
    found = read(RunFolder(runs / row["key"]).metrics_file)
    return found if row["phase"] == "seed" else [line for line in found if line.get("valid_bpb") is not None]


def _scores(rows: Sequence[table.Row], runs: Path) -> pa.Table:
    """The records of the complete confirming runs under one another; names of documents are left out."""
    parts = []
    for row in rows:
        if row["phase"] == "seed" and row["status"] == "complete":
            path = RunFolder(runs / row["key"]).record_file
            if path.exists():
                part = pq.read_table(path).drop_columns(["name"])
                parts.append(part.append_column("key", pa.array([row["key"]] * len(part))))
    empty = SCHEMA.remove(SCHEMA.get_field_index("name")).append(pa.field("key", pa.string())).empty_table()
    return pa.concat_tables(parts) if parts else empty
