"""A loss or gradient that is no longer a number ends the run."""

from __future__ import annotations

import math
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Diverged(RuntimeError):
    """The run left the numbers; the message says what was seen, and when."""


class Guard(Callback):
    """Raises `Diverged` at the first loss or gradient norm that is NaN or infinite."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name in ("train_loss", "grad_norm"):
            if not math.isfinite(outputs[name]):
                raise Diverged(f"{name} became {outputs[name]} at step {trainer.global_step}")
