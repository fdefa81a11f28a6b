"""TensorBoard's event files beside `metrics.csv`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.core.errors import spec_error
from nanochat.logger.base import About, Logger, LoggerSpec, Row
from nanochat.logger.csv import FILE, CSVLogger

FOLDER = "tensorboard"


class TensorboardSpec(LoggerSpec):
    """Writes event files to `tensorboard/` in the run's folder: `tensorboard --logdir multirun/runs` shows all runs.

    The scalars bear the names of the columns of `metrics.csv`; they are drawn over optimizer steps.
    """

    def check(self) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise spec_error(
                "", None, "TensorBoard is not installed", "pip install 'nanochat[tensorboard]', or use logger=csv"
            )

    def open(
        self, folder: Path, *, key: str, step: int, config: Mapping[str, Any], about: About | None
    ) -> TensorboardLogger:
        from torch.utils.tensorboard import SummaryWriter

        rows = CSVLogger(folder / FILE, step=step)
        # Readers forget what earlier event files hold of the steps from `purge_step` on.
        return TensorboardLogger(SummaryWriter(str(folder / FOLDER), purge_step=step + 1), rows)


class TensorboardLogger(Logger):
    """Rows go to both places."""

    def __init__(self, writer: Any, rows: CSVLogger) -> None:
        self.writer = writer
        self.rows = rows

    def log(self, row: Row) -> None:
        self.rows.log(row)
        for name, value in row.items():
            if name != "step":
                self.writer.add_scalar(name, value, global_step=int(row["step"]))
        # Written now: a checkpoint saved later counts on every row before it.
        self.writer.flush()

    def close(self) -> None:
        self.rows.close()
        self.writer.close()
