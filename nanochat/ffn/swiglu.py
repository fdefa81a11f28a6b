"""SwiGLU: down(silu(gate(x)) · up(x)) (Shazeer, 2002.05202, eq. 6)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nanochat.ffn.dense import DenseSpec, Projection


class SwiGLUSpec(DenseSpec):
    """hidden null: 8·dim/3 to the nearest multiple of 8, the parameters of an MLP of 4·dim up to that rounding."""

    def default_hidden(self, dim: int) -> int:
        return max(8, 8 * round(dim / 3))

    def projections(self, dim: int) -> dict[str, Projection]:
        hidden = self.hidden
        assert hidden is not None, "unresolved"
        return {
            "gate": Projection(hidden, dim, bias=False),
            "up": Projection(hidden, dim, bias=False),
            "down": Projection(dim, hidden, bias=False),
        }

    def combine(self, *inputs: Float[Tensor, "*#rows hidden"]) -> Float[Tensor, "*#rows hidden"]:
        gate, up = inputs
        return F.silu(gate) * up
