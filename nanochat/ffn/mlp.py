"""The two-layer MLP: down(activation(up(x))) (Vaswani et al., 1706.03762, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nanochat.ffn.dense import DenseSpec, Projection


def relu2(x: Tensor) -> Tensor:
    """relu(x)² (Primer, 2109.08668)."""
    return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "relu2": relu2, "silu": F.silu}


class MLPSpec(DenseSpec):
    """hidden null: 4·dim · activation: gelu (exact), relu, relu2 or silu · bias: whether both projections add one."""

    activation: Literal["gelu", "relu", "relu2", "silu"]
    bias: bool

    def default_hidden(self, dim: int) -> int:
        return 4 * dim

    def projections(self, dim: int) -> dict[str, Projection]:
        assert self.hidden is not None, "unresolved"
        return {
            "up": Projection(self.hidden, dim, bias=self.bias),
            "down": Projection(dim, self.hidden, bias=self.bias),
        }

    def combine(self, *inputs: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        (up,) = inputs
        return ACTIVATIONS[self.activation](up)
