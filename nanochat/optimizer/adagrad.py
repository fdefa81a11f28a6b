"""Adagrad (Duchi et al., JMLR 12, 2011): each rate falls with the root of the sum of its squared gradients so far.

The diagonal form: s ← s + g², w ← w - rate·g / (√s + eps), s starting at `initial_accumulator`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from nanochat.core.roles import Role
from nanochat.core.spec import Positive
from nanochat.optimizer.base import OptimizerSpec, parameter_groups


class AdagradSpec(OptimizerSpec):
    """initial_accumulator: what the sums start at; zero makes the first step rate·sign(g) · eps: added to their roots.

    Updates do not depend on the gradient's size, so µP treats its rates as Adam's; gradients shrink with the width,
    and what is added to them and to their squares shrinks as they do.
    """

    initial_accumulator: Annotated[float, Field(ge=0)]
    eps: Positive

    def state_per_parameter(self, role: Role) -> int:
        return 1

    def build(self, model: nn.Module, *, width: float = 1.0) -> torch.optim.Adagrad:
        """Torch's Adagrad, its rate decaying by the schedule alone."""
        groups = parameter_groups(model, optimizer=self, weight_decay=0.0, width=width)
        start = self.initial_accumulator / width**2
        return torch.optim.Adagrad(groups, lr=0.0, initial_accumulator_value=start, eps=self.eps / width)
