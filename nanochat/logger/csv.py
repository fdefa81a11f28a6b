"""`metrics.csv` in the run's folder: written by every run, whatever else logs."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.core.artifact import atomic_path, writable
from nanochat.logger.base import About, Logger, LoggerSpec, Row

FILE = "metrics.csv"

COLUMNS = (
    "step",
    "tokens",
    "epochs",
    "seconds",
    "lr",
    "train_loss",
    "grad_norm",
    "tokens_per_second",
    "memory_mib",
    "valid_loss",
    "valid_bpb",
    "valid_accuracy",
    "valid_confidence",
    "logit_mean",
    "logit_sd",
    "logit_max",
    "logit_entropy",
)


class CSVSpec(LoggerSpec):
    """Nothing but `metrics.csv`."""

    def open(self, folder: Path, *, key: str, step: int, config: Mapping[str, Any], about: About | None) -> CSVLogger:
        return CSVLogger(folder / FILE, step=step)


class CSVLogger(Logger):
    """Appends rows to a CSV file; a resumed run first drops the rows after its checkpoint.

    The columns are `COLUMNS` and, sorted, what the model's own parts report (a router's balance); they are
    fixed by the first row.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        rows = [row for row in read(path) if row["step"] <= step] if step else []
        self.columns = columns(rows[0]) if rows else []
        with writable(path), atomic_path(path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if rows:
                writer.writeheader()
                writer.writerows([{k: "" if v is None else v for k, v in row.items()} for row in rows])
        self.file = path.open("a", newline="", buffering=1)

    def log(self, row: Row) -> None:
        with writable(self.path):
            if not self.columns:
                self.columns = columns(row)
                csv.DictWriter(self.file, self.columns, lineterminator="\n").writeheader()
            csv.DictWriter(self.file, self.columns, lineterminator="\n").writerow(dict(row))
            if row.get("valid_bpb") is not None:
                # A checkpoint saved after it would otherwise outlive it when the power fails.
                os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def columns(row: Row) -> list[str]:
    """The columns of a file that holds `row`; a resumed one may have been begun when there were fewer."""
    return [*COLUMNS, *sorted(set(row) - set(COLUMNS))]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file as floats (`step` and `tokens` as ints, empty cells as None); [] where there is none.

    A last line cut short by a killed writer is left out.
    """
    if not path.exists():
        return []
    text = path.read_text()
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [{name: _number(name, cell) for name, cell in row.items()} for row in csv.DictReader(lines)]


def _number(name: str, cell: str | None) -> float | int | None:
    if not cell:
        return None
    return int(cell) if name in ("step", "tokens") else float(cell)
