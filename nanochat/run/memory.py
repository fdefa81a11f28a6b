"""What training a run holds in memory, found without any: the forward pass is traced on tensors without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nanochat.core.errors import MachineError
from nanochat.core.roles import roles
from nanochat.model.transformer import Transformer
from nanochat.objective.base import Extra
from nanochat.run.spec import RunSpec

FP32 = 4


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes. weights, gradients and optimizer: fp32, whatever the precision of matmuls · activations: all that the
    forward pass of one micro-batch keeps for its backward pass, logits included; None where a part of the model
    decides by the numbers it sees what to keep, or has a kernel for GPUs alone. The scratch space of single operations
    comes on top.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int | None

    @property
    def total(self) -> int | None:
        if self.activations is None:
            return None
        return self.weights + self.gradients + self.optimizer + self.activations


def training_memory(run: RunSpec) -> Memory:
    """What training the resolved `run` holds at the end of a forward pass."""
    with FakeTensorMode(), torch.random.fork_rng(devices=[]):
        trained = _assembled(run)
        role_of = roles(trained)
        sizes = {name: parameter.numel() for name, parameter in trained.named_parameters()}
    weights = FP32 * sum(sizes.values())
    optimizer = FP32 * sum(size * run.optimizer.state_per_parameter(role_of[name]) for name, size in sizes.items())
    return Memory(weights=weights, gradients=weights, optimizer=optimizer, activations=activation_bytes(run))


def activation_bytes(run: RunSpec) -> int | None:
    """Bytes kept between the forward and the backward pass of one micro-batch of a resolved run.

    Traced as on a CPU: on a GPU, too, fused attention keeps queries, keys, values and outputs.
    """
    assert run.batch.micro is not None
    try:
        with FakeTensorMode(), _GroupedMatmulShapes(), torch.random.fork_rng(devices=[]):
            trained = _assembled(run).eval()  # what is drawn in training (dropout) is left out: it asks for the step
            kept = _Kept(trained.parameters())
            tokens = torch.zeros(run.batch.micro, run.context + 1, dtype=torch.int64)
            docs = tokens[:, :-1] if run.batch.isolate else None
            bf16 = run.trainer.precision == "bf16"
            with kept, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                run.objective.measure(trained.model, trained.extra, tokens, docs=docs)
        return kept.bytes
    except (DataDependentOutputException, DynamicOutputShapeException, NotImplementedError, MachineError):
        return None


class _Trained(nn.Module):
    """The model and what the objective adds to it."""

    def __init__(self, model: Transformer, extra: Extra | None) -> None:
        super().__init__()
        self.model = model
        self.extra = extra


def _assembled(run: RunSpec) -> _Trained:
    vocab, context = run.tokenizer.ids, run.context
    model = run.architecture.assemble(vocab=vocab, context=context)
    return _Trained(model, run.objective.assemble(run.architecture, vocab=vocab, context=context))


class _Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the memory of tensors saved for backward, each storage once, those of the `own` parameters never."""

    def __init__(self, own: Any) -> None:
        self.own = {parameter.untyped_storage()._cdata for parameter in own}
        self.seen: dict[int, Any] = {}
        super().__init__(self._note, lambda tensor: tensor)

    def _note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own:
            self.seen[storage._cdata] = storage  # kept alive, so that no other storage gets its number
        return tensor

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.seen.values())


class _GroupedMatmulShapes(TorchDispatchMode):
    """Torch's own rule for the shape of a grouped matmul refuses fp32, which the CPU kernel computes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._grouped_mm.default:
            rows, weight = args[:2]
            return rows.new_empty(rows.shape[0], weight.shape[-1])
        return func(*args, **(kwargs or {}))
