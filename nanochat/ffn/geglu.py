"""GEGLU: down(gelu(gate(x)) · up(x)) (Shazeer, 2002.05202, eq. 6)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nanochat.ffn.swiglu import SwiGLUSpec


class GEGLUSpec(SwiGLUSpec):
    """SwiGLU's projections and width, the gate an exact GELU."""

    def combine(self, *inputs: Float[Tensor, "*#rows hidden"]) -> Float[Tensor, "*#rows hidden"]:
        gate, up = inputs
        return F.gelu(gate) * up
