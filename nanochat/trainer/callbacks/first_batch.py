"""The first batch in readable form: what a person looks at before trusting a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from nanochat.trainer.module import LanguageModel

SHOWN = 48


class FirstBatch(Callback):
    """Logs, before step 1, the start of the first sequence: its text, and inputs above the targets they predict."""

    def __init__(self, *, decode: Callable[[Sequence[int]], str], write: Callable[[str], None]) -> None:
        self.decode = decode
        self.write = write

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step > 0:
            return
        assert isinstance(pl_module, LanguageModel)
        inputs = batch.tokens[0, :SHOWN].tolist()
        targets = pl_module.objective.targets(batch.tokens[:1])[0, :SHOWN].tolist()
        pieces = [self.decode([token]) for token in targets]
        self.write(
            f"first batch: {batch.tokens.shape[0]} sequences of {batch.tokens.shape[1] - 1} tokens; the first begins\n"
            f"  text     {self.decode(inputs)!r}\n"
            f"  inputs   {inputs}\n"
            f"  targets  {targets}\n"
            f"  as text  {pieces}"
        )
