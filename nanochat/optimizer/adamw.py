"""AdamW (Loshchilov & Hutter, 1711.05101)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from nanochat.core.roles import Role
from nanochat.core.spec import Positive
from nanochat.optimizer.base import Beta, OptimizerSpec, parameter_groups


class AdamWSpec(OptimizerSpec):
    """Adam with decoupled weight decay; `weight_decay` is multiplied by the current rate (algorithm 2)."""

    beta1: Beta
    beta2: Beta
    eps: Positive
    weight_decay: Annotated[float, Field(ge=0)]

    def state_per_parameter(self, role: Role) -> int:
        return 2

    def build(self, model: nn.Module, *, width: float = 1.0) -> torch.optim.AdamW:
        """AdamW in torch's fused kernel (one pass over each tensor, on CPU as on CUDA)."""
        groups = parameter_groups(model, optimizer=self, weight_decay=self.weight_decay, width=width)
        for group in groups:
            group["eps"] = self.eps / width
        return torch.optim.AdamW(groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)
