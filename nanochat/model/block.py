"""One block of the residual stream: attention, then an FFN, each with its norms around it."""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, State
from nanochat.core.noise import Dropout
from nanochat.ffn.base import FFN, Aux
from nanochat.norm.base import NormSpec


class Block(nn.Module):
    """The two branches, `norm.placement` deciding where their norms stand."""

    def __init__(self, *, attention: Attention[Any], ffn: FFN, norm: NormSpec, dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norms = Norms(norm, dim=dim)
        self.attention = attention
        self.ffn_norms = Norms(norm, dim=dim)
        self.ffn = ffn
        self.attention_dropout = Dropout(dropout)
        self.ffn_dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: State | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], State, Aux]:
        """The residual stream after this block, the attention's state and what the FFN reports.

        values: the value embeddings of these tokens, where this block has any.
        """
        more = {} if values is None else {"values": values}
        y, kept = self.attention(self.attention_norms.before(x), state=state, docs=docs, **more)
        x = self.attention_norms.after(x, self.attention_dropout(y))
        y, aux = self.ffn(self.ffn_norms.before(x))
        return self.ffn_norms.after(x, self.ffn_dropout(y)), kept, aux


class Norms(nn.Module):
    """The norms of one branch: what it reads is `before(x)`, and `after(x, y)` adds its output y to the stream x."""

    def __init__(self, norm: NormSpec, *, dim: int) -> None:
        super().__init__()
        self.placement: Literal["pre", "post", "sandwich"] = norm.placement
        self.inner = norm.build(dim) if norm.placement != "post" else nn.Identity()
        self.outer = norm.build(dim) if norm.placement != "pre" else nn.Identity()

    def before(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        return self.inner(x)

    def after(
        self, x: Float[Tensor, "batch time dim"], y: Float[Tensor, "batch time dim"]
    ) -> Float[Tensor, "batch time dim"]:
        return self.outer(x + y) if self.placement == "post" else x + self.outer(y)


def norms_per_block(norm: NormSpec) -> int:
    """How many norms a block has."""
    return 4 if norm.placement == "sandwich" else 2
