"""Lightning's Trainer, set up for one run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import IterableDataset

from nanochat.data.sequences import Sequences
from nanochat.trainer.callbacks.signals import OwnSignals
from nanochat.trainer.module import Batch, LanguageModel
from nanochat.trainer.ranks import ALONE, Ranks
from nanochat.trainer.spec import TrainerSpec
from nanochat.trainer.strategy import placement


class Batches(IterableDataset[Batch]):
    """The batches of a run from optimizer step `first` on: step s holds sequences s·count … (s+1)·count − 1.

    Of several ranks each has a share: the same number of sequences, in the order of ranks.
    """

    def __init__(self, sequences: Sequences, *, count: int, first: int, steps: int, ranks: Ranks = ALONE) -> None:
        self.sequences = sequences
        self.count = count
        self.first = first
        self.steps = steps
        self.ranks = ranks

    def __iter__(self) -> Iterator[Batch]:
        share = self.count // self.ranks.count
        for step in range(self.first, self.steps):
            tokens, docs = self.sequences.batch(step * self.count + self.ranks.rank * share, share)
            yield Batch(torch.from_numpy(tokens), torch.from_numpy(docs))


def fit(
    module: LanguageModel,
    *,
    batches: Batches,
    spec: TrainerSpec,
    callbacks: list[lightning.Callback],
    resume: Path | None,
) -> int:
    """Train until the run's steps are done, a callback stops it or raises; returns the steps done.

    `resume`: a checkpoint to go on from; `batches` must then start at its step.
    """
    _hush()
    trainer = lightning.Trainer(
        accelerator="gpu" if spec.device == "cuda" else "cpu",
        precision="bf16-mixed" if spec.precision == "bf16" else "32-true",
        max_steps=module.steps,
        callbacks=[OwnSignals(), *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **placement(spec, module.ranks),
    )
    trainer.fit(module, batches, ckpt_path=resume, weights_only=True)
    return trainer.global_step


def _hush() -> None:
    """Lightning's advice is for people who call it themselves."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    # Of what FSDP's modules return nothing is changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")


def checkpoint_step(path: Path) -> int:
    """The optimizer step a checkpoint was saved after. Read without unpickling anything but tensors and plain data."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return int(state["global_step"])
