"""Checkpoints to resume from, and stopping on request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from nanochat.core.artifact import atomic_path
from nanochat.trainer.control import Control
from nanochat.trainer.ranks import ALONE, Ranks


class Checkpoint(Callback):
    """Saves model, optimizer and loop to `path` every `seconds`, when the run is asked to stop, and when it is trained.

    At the steps in `keep` it saves to a file of its own, which stays.

    Saving is atomic: a run killed while it saves resumes from the checkpoint before. How often it saves changes
    nothing in the run, so it is measured by the clock. Of several ranks the first decides and writes.
    """

    def __init__(
        self, path: Path, *, keep: Mapping[int, Path], control: Control, seconds: float, ranks: Ranks = ALONE
    ) -> None:
        self.path = path
        self.keep = keep
        self.control = control
        self.seconds = seconds
        self.ranks = ranks
        self.saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step in self.keep:  # first: a run that goes on from its checkpoint has passed this step
            self.save(trainer, self.keep[trainer.global_step])
        stop = self.control.stop_requested()
        # Scoring takes its time, and what was trained must not hang on it.
        trained = trainer.global_step == trainer.max_steps
        save = stop or trained or time.monotonic() - self.saved_at >= self.seconds
        save, stop = self.ranks.told(save, stop)
        if save:
            self.save(trainer, self.path)
            self.saved_at = time.monotonic()
        if stop:
            trainer.should_stop = True

    def save(self, trainer: Trainer, path: Path) -> None:
        """Every rank takes part in gathering what is saved; Lightning writes on the first."""
        if self.ranks.first:
            with atomic_path(path) as part:
                trainer.save_checkpoint(part)
        else:
            trainer.save_checkpoint(path)
