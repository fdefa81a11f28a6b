"""One block of the residual stream: pre-norm attention, then a pre-norm FFN (Xiong et al., 2002.04745)."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, State
from nanochat.ffn.base import FFN, Aux


class Block(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, *, attention_norm: nn.Module, attention: Attention[Any], ffn_norm: nn.Module, ffn: FFN) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.ffn_norm = ffn_norm
        self.ffn = ffn

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: State | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], State, Aux]:
        """The residual stream after this block, the attention's state and what the FFN reports."""
        y, kept = self.attention(self.attention_norm(x), state=state, docs=docs)
        x = x + y
        y, aux = self.ffn(self.ffn_norm(x))
        return x + y, kept, aux
