"""Weighted grouped-query attention (Chinnakonduru & Mohapatra, 2407.10855): GQA whose keys and values are learned
mixtures of those of full multi-head attention.

Every head has key and value projections of its own and two learned scalars; the key of group g is
K_g = Σ_{i∈g} w_k,i K_i, its value likewise. At the start all scalars are 1 / (heads in a group), which is the mean that
turns a multi-head model into GQA (2305.13245, section 2.1). Once trained it is plain GQA with the projections that
`merged` returns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from nanochat.attention.gqa import GQA, GQASpec
from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.position.base import Position


class WGQASpec(GQASpec):
    """As `attention=gqa`; kv_heads is the number of groups ("WGQA-4": 4)."""

    def cost(self, geometry: Geometry) -> Cost:
        """As GQA with as many kv_heads, in FLOPs and in what decoding keeps; 2·dim·(H − H_kv)·d + 2·H parameters more.
        Mixing the weights costs 4·dim·H·d multiplications a forward pass, not a token: too few to count.
        """
        heads, kv_heads, head_dim = self.sizes
        extra = 2 * geometry.dim * (heads - kv_heads) * head_dim + 2 * heads
        return super().cost(geometry) + dense_cost(extra, lookups=extra)

    def build(self, geometry: Geometry, *, position: Position) -> WGQA:
        return WGQA(self, geometry=geometry, position=position)


class WGQA(GQA):
    """w_k, w_v: the weight of each head's keys and values in its group's; consecutive heads are a group."""

    def __init__(self, spec: WGQASpec, *, geometry: Geometry, position: Position) -> None:
        super().__init__(spec, geometry=geometry, position=position)
        width = self.heads * self.head_dim
        self.k_proj = nn.Linear(geometry.dim, width, bias=False)
        self.v_proj = nn.Linear(geometry.dim, width, bias=False)
        mean = self.kv_heads / self.heads
        self.w_k = nn.Parameter(torch.full((self.heads,), mean))
        self.w_v = nn.Parameter(torch.full((self.heads,), mean))

    def keys_and_values(
        self, x: Float[Tensor, "batch time dim"]
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch time channels"]]:
        if self.kernel == "naive":
            return self.grouped(self.k_proj(x), self.w_k), self.grouped(self.v_proj(x), self.w_v)
        # Projections are linear: mixing their weights is mixing keys, at a cost that no longer grows with the tokens.
        k_weight, v_weight = self.merged()
        return F.linear(x, k_weight), F.linear(x, v_weight)

    def merged(self) -> tuple[Float[Tensor, "kv_channels dim"], Float[Tensor, "kv_channels dim"]]:
        """The weights [kv_heads · head_dim, dim] of k_proj and v_proj of the plain GQA that is the same function, its
        other parameters being these; differentiable. Export writes them.
        """
        pairs = ((self.k_proj, self.w_k), (self.v_proj, self.w_v))
        k_weight, v_weight = (self.grouped(projection.weight.T, scalars).T for projection, scalars in pairs)
        return k_weight, v_weight

    def grouped(
        self, channels: Float[Tensor, "*rows channels"], scalars: Float[Tensor, " heads"]
    ) -> Float[Tensor, "*rows kv_channels"]:
        """The channels of all heads, mixed within each group."""
        shape = {"g": self.kv_heads, "d": self.head_dim}
        heads = rearrange(channels, "... (g i d) -> ... g i d", **shape)
        weight = rearrange(scalars.to(channels.dtype), "(g i) -> g i 1", g=self.kv_heads)
        return rearrange((heads * weight).sum(dim=-2), "... g d -> ... (g d)")
