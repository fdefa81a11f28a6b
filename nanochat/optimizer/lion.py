"""Lion (Chen et al., 2302.06675, algorithm 2): every parameter moves by the sign of an interpolated momentum.

c = beta1·m + (1 - beta1)·g, w ← w - rate·(sign(c) + weight_decay·w), m ← beta2·m + (1 - beta2)·g.
"""

# pyright: reportPrivateImportUsage=false
# Torch's `_foreach` operations take many tensors in one call, which saves hundreds of launches on a GPU.

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from nanochat.core.roles import Role
from nanochat.optimizer.base import Beta, GroupOptimizer, OptimizerSpec, parameter_groups


class LionSpec(OptimizerSpec):
    """beta1: weight of the momentum in the step · beta2: decay of the momentum · weight_decay: times the rate; since
    that is 3 to 10 times smaller than AdamW's, the decay that suits is as many times larger (section 5).

    A step's size is the rate whatever the gradient's, so µP treats its rates as Adam's.
    """

    beta1: Beta
    beta2: Beta
    weight_decay: Annotated[float, Field(ge=0)]

    def state_per_parameter(self, role: Role) -> int:
        return 1

    def build(self, model: nn.Module, *, width: float = 1.0) -> Lion:
        groups = parameter_groups(model, optimizer=self, weight_decay=self.weight_decay, width=width)
        return Lion(groups, beta1=self.beta1, beta2=self.beta2)


class Lion(GroupOptimizer):
    """Keeps one moment per parameter; all tensors of a group go through each operation in one call."""

    def __init__(self, groups: list[dict[str, Any]], *, beta1: float, beta2: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "beta1": beta1, "beta2": beta2})

    def move(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        moments = self.kept(params, "moment")
        direction = torch._foreach_lerp(moments, gradients, 1 - group["beta1"])
        torch._foreach_sign_(direction)
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, direction, alpha=-group["lr"])
        torch._foreach_lerp_(moments, gradients, 1 - group["beta2"])
