"""Metrics rows and validation during training."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from nanochat.core.device import peak_memory_mib
from nanochat.logger.base import Logger
from nanochat.trainer.control import Control, Interrupted


class Record(Callback):
    """Logs a row every `every` steps and at each of the `validate_at` steps, where it also validates.

    `seconds` is training time, validation and time lost between a checkpoint and a kill left out.
    `train_loss` is that of the row's own batch, in nats per token.

    A row with a validation waits in `due` until it has it. A validation that a request to stop cuts short, and the
    one at the run's end, which only begins when the trained weights are safe, are made up for after the checkpoint.
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
        self.due: dict[str, float] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "logged": list(self.logged), "due": self.due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
        self.logged = (int(state_dict["logged"][0]), float(state_dict["logged"][1]))
        self.due = state_dict["due"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.settle(trainer.global_step, device=pl_module.device.type)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds += time.perf_counter() - self.started
        step = trainer.global_step
        tokens = step * self.batch_tokens
        self.control.progress("train", tokens=tokens, total=self.steps * self.batch_tokens, loss=outputs["train_loss"])
        if step in self.validate_at:
            self.due = dict(outputs)
            if step < self.steps:
                with contextlib.suppress(Interrupted):
                    self.settle(step, device=pl_module.device.type)
        elif step % self.every == 0 or step == 1:
            self.logger.log({**self.row(step, device=pl_module.device.type), **outputs})

    def settle(self, step: int, *, device: str) -> None:
        """Validate, log and report what is due at `step`, if anything is. `Interrupted` leaves it due."""
        if self.due is None:
            return
        progress = functools.partial(
            self.control.progress, tokens=step * self.batch_tokens, total=self.steps * self.batch_tokens
        )
        progress("valid")
        valid = self.validate()
        progress("train", bpb=valid["valid_bpb"])
        self.logger.log({**self.row(step, device=device), **self.due, **valid})
        self.due = None
        self.control.report(tokens=step * self.batch_tokens, bpb=valid["valid_bpb"])

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


def logged_step(checkpoint: Path) -> int:
    """The optimizer step of the last row logged before `checkpoint` was saved."""
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return int(state["callbacks"][Record.__qualname__]["logged"][0])


def begun_at(step: int) -> dict[str, Any]:
    """The recorder's part of the checkpoint of a run that begins at `step`, having logged and spent nothing yet."""
    return {"seconds": 0.0, "logged": [step, 0.0], "due": None}
