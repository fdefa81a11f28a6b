"""Stochastic gradient descent with momentum (Sutskever et al., ICML 2013), in torch's form.

b ← momentum·b + g, then w ← w - rate·b, or with Nesterov's w ← w - rate·(g + momentum·b). The rate stands outside of
b, so that b is a sum of gradients and steps grow to 1 / (1 - momentum) times the rate.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from nanochat.core.errors import spec_error
from nanochat.core.roles import Role
from nanochat.core.spec import option_of
from nanochat.optimizer.base import OptimizerSpec, parameter_groups


class SGDSpec(OptimizerSpec):
    """momentum: decay of the sum of gradients, zero keeps none · nesterov: whether a step looks ahead by it."""

    momentum: Annotated[float, Field(ge=0, lt=1)]
    nesterov: bool

    @model_validator(mode="after")
    def _looks_ahead_by_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise spec_error("nesterov", True, "needs a momentum above zero", "use nesterov=false")
        return self

    def width_factor(self, role: Role, width: float) -> float:
        """Here updates are as large as gradients, which shrink with the width (Yang et al., 2203.03466, table 8): only
        in hidden matrices does the growing number of inputs make up for it. A learned scalar that multiplies whole
        vectors is the one thing that is rated too high: it is in the group of vectors, yet its gradient sums over
        channels.
        """
        return 1.0 if role in ("hidden", "residual") else width

    def check_sharded(self) -> None:
        rule = "has a kernel that takes no parameters cut in parts by trainer.strategy=fsdp"
        raise spec_error("", option_of(self), rule, "use trainer=ddp or another optimizer")

    def state_per_parameter(self, role: Role) -> int:
        return 1 if self.momentum else 0

    def build(self, model: nn.Module, *, width: float = 1.0) -> torch.optim.SGD:
        """SGD in torch's fused kernel (one pass over each tensor, on CPU as on CUDA)."""
        groups = parameter_groups(model, optimizer=self, weight_decay=0.0, width=width)
        return torch.optim.SGD(groups, lr=0.0, momentum=self.momentum, nesterov=self.nesterov, fused=True)
