"""Metrics rows and validation during training."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer

from nanochat.core.device import peak_memory_mib
from nanochat.logger.base import Logger
from nanochat.trainer.control import Control


class Record(Callback):
    """Logs a row every `every` steps and at each of the `validate_at` steps, where it also validates.

    `seconds` is training time, validation and time lost between a checkpoint and a kill left out.
    `train_loss` is that of the row's own batch, in nats per token.
    """

    def __init__(
        self,
        *,
        logger: Logger,
        control: Control,
        validate: Callable[[], dict[str, float]],
        validate_at: frozenset[int],
        every: int,
        steps: int,
        batch_tokens: int,
        epoch_tokens: int,
    ) -> None:
        """`validate` scores the model on the valid split · `epoch_tokens`: tokens of the training split."""
        self.logger = logger
        self.control = control
        self.validate = validate
        self.validate_at = validate_at
        self.every = every
        self.steps = steps
        self.batch_tokens = batch_tokens
        self.epoch_tokens = epoch_tokens
        self.seconds = 0.0
        self.started = 0.0
        self.logged: tuple[int, float] = (0, 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "logged": list(self.logged)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.logged = (int(state_dict["logged"][0]), float(state_dict["logged"][1]))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds += time.perf_counter() - self.started
        step = trainer.global_step
        tokens = step * self.batch_tokens
        self.control.progress("train", tokens=tokens, total=self.steps * self.batch_tokens, loss=outputs["train_loss"])
        valid: dict[str, float] = {}
        if step in self.validate_at:
            self.control.progress("valid", tokens=tokens, total=self.steps * self.batch_tokens)
            valid = self.validate()
            self.control.progress("train", tokens=tokens, total=self.steps * self.batch_tokens, bpb=valid["valid_bpb"])
        if valid or step % self.every == 0 or step in (1, self.steps):
            self.logger.log({**self.row(step, device=pl_module.device.type), **outputs, **valid})
        if valid:
            self.control.report(tokens=tokens, bpb=valid["valid_bpb"])

    def row(self, step: int, *, device: str) -> dict[str, float]:
        """The columns that do not come from the model."""
        since_step, since_seconds = self.logged
        elapsed = self.seconds - since_seconds
        self.logged = (step, self.seconds)
        return {
            "step": step,
            "tokens": step * self.batch_tokens,
            "epochs": step * self.batch_tokens / self.epoch_tokens,
            "seconds": round(self.seconds, 4),
            "tokens_per_second": round((step - since_step) * self.batch_tokens / elapsed, 1) if elapsed else 0.0,
            "memory_mib": round(peak_memory_mib(device), 1),
        }
