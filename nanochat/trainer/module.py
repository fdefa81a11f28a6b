"""The LightningModule: one training step = one optimizer step over a whole batch, in micro-batches."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from nanochat.core.noise import key_noise
from nanochat.lr.base import LRSpec
from nanochat.model.transformer import Transformer
from nanochat.objective.base import Extra, ObjectiveSpec
from nanochat.optimizer.base import OptimizerSpec
from nanochat.trainer.ranks import ALONE, Ranks
from nanochat.trainer.sharded import shard


class Batch(NamedTuple):
    """The sequences of one optimizer step: T+1 tokens each, and the document that each token belongs to."""

    tokens: Int[Tensor, "sequences time_and_one"]
    docs: Int[Tensor, "sequences time_and_one"]


class LanguageModel(lightning.LightningModule):
    """Trains `model`; Lightning brings devices, precision and checkpoints.

    The loss of a micro-batch is its summed nats over the tokens of the *whole* batch, plus its sequences' own
    losses (a router's balance) over the sequences of the whole batch: gradients accumulated over micro-batches are
    those of the large batch. Optimisation is manual, so that this division stands here to be read.

    Of several ranks each divides by its own, equal share, and gradients are averaged over them: the same again.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        extra: Extra | None,
        objective: ObjectiveSpec,
        optimizer: OptimizerSpec,
        lr: LRSpec,
        steps: int,
        micro: int,
        grad_clip: float | None,
        isolate: bool,
        seed: int,
        width: float,
        ranks: Ranks = ALONE,
    ) -> None:
        """extra: what the objective adds to the model · micro: sequences per forward pass · steps: optimizer steps of
        the run · grad_clip: highest gradient norm, None for no clipping · isolate: attention stays within documents ·
        seed: of what is drawn in training · width: the model's dim over the one at which rates were tuned · ranks: of
        this process, and those that it trains with.
        """
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.extra = extra
        self.objective = objective
        self.optimizer = optimizer
        self.lr = lr
        self.steps = steps
        self.micro = micro
        self.grad_clip = grad_clip
        self.isolate = isolate
        self.seed = seed
        self.width = width
        self.ranks = ranks

    @property
    def trained(self) -> nn.Module:
        """All that is trained: the model and what the objective adds to it."""
        return self.model if self.extra is None else nn.ModuleDict({"model": self.model, "objective": self.extra})

    def configure_model(self) -> None:
        """Called by Lightning before it makes the optimizer; with FSDP only there is a mesh of devices."""
        if self.ranks.count > 1 and self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer.build(self.trained, width=self.width)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One optimizer step. Returns the mean loss in nats per token, the gradient's norm before clipping, the rate
        and what the model's parts report."""
        optimizer: Any = self.optimizers()
        rate = self.lr.rate(self.global_step, steps=self.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * self.lr.factors.of(group["role"]) * group["factor"]
        optimizer.zero_grad(set_to_none=True)
        measured = self.accumulate(batch)
        norm = self.clip()
        optimizer.step()
        reported = self.model.after_step()
        if self.extra is not None:
            self.extra.after_step()
        return {**measured, **floats(reported), "grad_norm": float(norm), "lr": rate}

    def accumulate(self, batch: Batch) -> dict[str, float]:
        """Add up the gradients of all micro-batches; returns its loss, and metrics as means over forward passes.

        Of several ranks each gives its share of the batch, and all get what the whole one comes to.
        """
        sequences, count = batch.tokens.shape[0], batch.tokens[:, 1:].numel()
        nats = torch.zeros((), device=batch.tokens.device)
        metrics: dict[str, Tensor] = {}
        first = (self.global_step * self.ranks.count + self.ranks.rank) * sequences
        end = first + sequences
        for tokens, docs in zip(batch.tokens.split(self.micro), batch.docs.split(self.micro), strict=True):
            numbers = range(first, first + len(tokens))
            key_noise(self.model, seed=self.seed, step=self.global_step, sequences=numbers)
            if self.extra is not None:
                key_noise(self.extra, seed=self.seed, step=self.global_step, sequences=numbers, at="objective")
            first += len(tokens)
            part = self.objective.measure(self.model, self.extra, tokens, docs=docs[:, :-1] if self.isolate else None)
            loss = part.minimised / count
            if part.aux.loss is not None:
                loss = loss + part.aux.loss.sum() / sequences
            with self.gradients_kept(first < end):
                self.manual_backward(loss)
            nats += part.next_token
            for name, value in part.aux.metrics.items():
                metrics[name] = metrics.get(name, 0.0) + value * (len(tokens) / sequences)
        return self.ranks.mean({"train_loss": float(nats) / count, **floats(metrics)})

    def gradients_kept(self, more: bool) -> contextlib.AbstractContextManager[None]:
        """Around a backward pass. Under DDP gradients travel once, with the last micro-batch; under FSDP with each, so
        that no rank has to keep whole ones."""
        wrapped = self.trainer.strategy.model if more and self.ranks.count > 1 else None
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else contextlib.nullcontext()

    def clip(self) -> Tensor:
        """The norm of all gradients; scaled down to `grad_clip` where it is larger."""
        limit = self.grad_clip if self.grad_clip is not None else float("inf")
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def floats(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers, all brought from the device at once."""
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True)) if metrics else {}
