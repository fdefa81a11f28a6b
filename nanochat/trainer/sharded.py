"""FSDP: every rank keeps a part of each parameter and of its optimizer state (Zhao et al., 2304.11277).

Each block gathers its weights when it computes and gives them back (torch's `fully_shard`). Checkpoints are those of
a single process, tensor for tensor, so that a run goes on with any number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from nanochat.model.transformer import Transformer
from nanochat.trainer.ranks import Ranks


def shard(model: Transformer, mesh: DeviceMesh) -> None:
    """Split the parameters over `mesh`: those of each block, and those around the blocks."""
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(value: Any) -> Any:
    """A tensor, or a state of nested dicts and lists, with every sharded tensor gathered, on the CPU.

    Every rank has to ask for it: they gather together.
    """
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def as_sharded(value: Any, like: Tensor | None) -> Any:
    """This rank's part of a whole tensor that belongs to the parameter or buffer `like`: split where that is."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for `fully_shard`, with whole states in checkpoints."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__(data_parallel_size=ranks.count, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return whole(self._module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return whole(optimizer.state_dict())

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        here = self._module.state_dict()
        state = {name: as_sharded(value, here.get(name)) for name, value in checkpoint["state_dict"].items()}
        self._module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict({**state, "state": _moments_sharded(state, optimizer)})

    @property
    def _module(self) -> nn.Module:
        assert self.lightning_module is not None
        return self.lightning_module


def _moments_sharded(state: Mapping[str, Any], optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """What an optimizer kept of each parameter; parameters are numbered in the order of its groups."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    params = [param for group in optimizer.param_groups for param in group["params"]]
    return {
        number: {name: as_sharded(value, param) for name, value in state["state"][number].items()}
        for number, param in zip(numbers, params, strict=True)
        if number in state["state"]
    }
