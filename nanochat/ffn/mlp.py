"""The two-layer MLP: down(activation(up(x))) (Vaswani et al., 1706.03762, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nanochat.ffn.dense import DenseSpec, Projection


def relu2(x: Tensor) -> Tensor:
    """relu(x)² (Primer, 2109.08668)."""
    return F.relu(x).square()


def learned_gelu(
    x: Float[Tensor, "*rows hidden"], slope: Float[Tensor, "*#rows hidden"], shift: Float[Tensor, "*#rows hidden"]
) -> Float[Tensor, "*rows hidden"]:
    """x·Φ(slope ⊙ x + shift), Φ the normal distribution function: our own definition, GELU at slope 1 and shift 0."""
    return x * torch.special.ndtr(slope * x + shift)


ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "relu2": relu2,
    "silu": F.silu,
    "learned_gelu": learned_gelu,
}


class MLPSpec(DenseSpec):
    """hidden null: 4·dim · activation: gelu (exact), relu, relu2, silu or learned_gelu, which learns how steep each
    channel's gate is and where it opens · bias: whether both projections add one."""

    activation: Literal["gelu", "relu", "relu2", "silu", "learned_gelu"]
    bias: bool

    def default_hidden(self, dim: int) -> int:
        return 4 * dim

    def projections(self, dim: int) -> dict[str, Projection]:
        assert self.hidden is not None, "unresolved"
        return {
            "up": Projection(self.hidden, dim, bias=self.bias),
            "down": Projection(dim, self.hidden, bias=self.bias),
        }

    def channel_parameters(self) -> dict[str, float]:
        return {"slope": 1.0, "shift": 0.0} if self.activation == "learned_gelu" else {}

    def combine(self, *inputs: Float[Tensor, "*#rows hidden"]) -> Float[Tensor, "*#rows hidden"]:
        return ACTIVATIONS[self.activation](*inputs)
