"""Adam (Kingma & Ba, 1412.6980, algorithm 1): the mean of gradients over the root of the mean of their squares.

As in the paper, without weight decay; `optimizer=adamw` is the same with it, decoupled.
"""

from __future__ import annotations

import torch
from torch import nn

from nanochat.core.roles import Role
from nanochat.core.spec import Positive
from nanochat.optimizer.base import Beta, OptimizerSpec, parameter_groups


class AdamSpec(OptimizerSpec):
    """beta1, beta2: decay of the means of gradients and of their squares, both corrected for having started at zero ·
    eps: added to the root of the latter, divided by the width under µP as the gradients are.
    """

    beta1: Beta
    beta2: Beta
    eps: Positive

    def state_per_parameter(self, role: Role) -> int:
        return 2

    def build(self, model: nn.Module, *, width: float = 1.0) -> torch.optim.Adam:
        """Adam in torch's fused kernel (one pass over each tensor, on CPU as on CUDA)."""
        groups = parameter_groups(model, optimizer=self, weight_decay=0.0, width=width)
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=self.eps / width, fused=True)
