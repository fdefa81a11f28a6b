"""The contract of an optimizer, and the parameter groups that all of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from nanochat.core.roles import Role, roles
from nanochat.core.spec import Spec

Beta = Annotated[float, Field(ge=0, lt=1)]

DECAYED: tuple[Role, ...] = ("hidden", "residual", "head")
"""What decays: matrices, not embeddings, gains, biases or scalars."""


class OptimizerSpec(Spec):
    """Describes an optimizer. The rate is not its business: before each step the trainer sets `lr` of every group to
    the schedule's rate × the schedule's factor for the group's role × the group's `factor`.
    """

    @abstractmethod
    def build(self, model: nn.Module, *, width: float = 1.0) -> Optimizer:
        """The optimizer over all trainable parameters of `model`, in `parameter_groups`; `lr` is 0 until it is set.

        width: the model's dim over the one at which rates were tuned (1 but for µP).
        """

    def width_factor(self, role: Role, width: float) -> float:
        """What µP multiplies the rate of a group by, where logits are divided by `width`.

        As for Adam, whose updates do not depend on the gradient's size (Yang et al., 2203.03466, table 8): the
        inputs of hidden matrices have grown in number, so their updates must shrink.
        """
        return 1 / width if role in ("hidden", "residual") else 1.0

    def check_sharded(self) -> None:
        """Raises `SpecError` where it cannot move parameters of which every process holds a part."""

    @abstractmethod
    def state_per_parameter(self, role: Role) -> int:
        """Numbers that it keeps for every parameter of this role, in fp32, beside the parameter itself."""


def parameter_groups(
    model: nn.Module, *, optimizer: OptimizerSpec, weight_decay: float, width: float
) -> list[dict[str, Any]]:
    """One group per role that the model has, in a fixed order: `params`, `role`, `weight_decay` (zero where nothing
    is to decay), `lr` 0 and `factor`, the rate's multiplier. Every trainable parameter is in exactly one.

    Decay is multiplied by the rate; divided by its width factor here, it shrinks weights as fast at every width
    (`mup`'s MuAdamW does so too).
    """
    role_of = roles(model)
    members: dict[Role, list[nn.Parameter]] = {
        role: [] for role in ("embedding", "hidden", "residual", "head", "filter", "vector")
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[role_of[name]].append(parameter)
    return [
        {
            "params": params,
            "role": role,
            "weight_decay": weight_decay / optimizer.width_factor(role, width) if role in DECAYED else 0.0,
            "lr": 0.0,
            "factor": optimizer.width_factor(role, width),
        }
        for role, params in members.items()
        if params
    ]


class GroupOptimizer(Optimizer):
    """An optimizer that torch does not have: `move` says how the parameters of one group do."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every group by its gradients; `closure`, where given, is called first and its result returned."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            found = {p: p.grad for p in group["params"] if p.grad is not None}
            if found:
                self.move(list(found), list(found.values()), group)
        return result

    @abstractmethod
    def move(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Change the parameters of `group` that have a gradient, in place."""

    def kept(self, params: list[Tensor], name: str) -> list[Tensor]:
        """The tensor that is kept under `name` for each parameter, zero at first."""
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in params]
