"""AdamW (Loshchilov & Hutter, 1711.05101)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from nanochat.core.spec import Positive
from nanochat.optimizer.base import OptimizerSpec, decay_groups

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamWSpec(OptimizerSpec):
    """Adam with decoupled weight decay; `weight_decay` is multiplied by the current rate (algorithm 2)."""

    beta1: Beta
    beta2: Beta
    eps: Positive
    weight_decay: Annotated[float, Field(ge=0)]

    def build(self, model: nn.Module) -> torch.optim.AdamW:
        """AdamW in torch's fused kernel (one pass over each tensor, on CPU as on CUDA)."""
        decayed, kept = decay_groups(model)
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)
