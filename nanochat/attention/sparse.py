"""Sparse attention by a fixed pattern (Sparse Transformer, Child et al., 1904.10509).

The pattern reaches the fused kernel as a dense boolean mask of heads × context² entries: exact on every device, and
no faster than full attention. `Cost.flops` counts the pairs that the pattern allows, `Cost.flops_mfu` all of them.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.heads import resolve_heads
from nanochat.attention.keyvalue import KeyValue, extend, merge_heads, split_heads
from nanochat.attention.masked import document_positions, naive_attention, same_document, visible
from nanochat.attention.pattern import Kind, Pattern, derive, problems
from nanochat.core.errors import Problem, SpecError
from nanochat.core.geometry import Cost, Geometry, attention_cost, dense_cost
from nanochat.core.spec import Count
from nanochat.position.base import Hook, Position


class SparseSpec(AttentionSpec):
    """pattern: fixed, strided or local · heads, head_dim: null as in `attention=mha` · blocksize, local_attn_ctx,
    num_verts, vertsize: as `Pattern` and `derive` define them, the last two of fixed alone, null elsewhere ·
    kernel: sdpa (torch's fused attention with a dense mask) or naive (plain matmuls, the reference).
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed", "rotate", "bias"})
    rotated: ClassVar[str | None] = "head_dim"

    pattern: Kind
    heads: Count | None
    head_dim: Count | None
    blocksize: Count
    local_attn_ctx: Count | None
    num_verts: Count | None
    vertsize: Count | None
    kernel: Literal["sdpa", "naive"]

    def resolve(self, geometry: Geometry) -> Self:
        heads = resolve_heads(self.heads, dim=geometry.dim, split=self.head_dim is None)
        found = derive(
            self.pattern,
            blocksize=self.blocksize,
            local_attn_ctx=self.local_attn_ctx,
            num_verts=self.num_verts,
            vertsize=self.vertsize,
            heads=heads,
            context=geometry.context,
        )
        wrong = self._columns_without_use() + problems(found, heads=heads, context=geometry.context)
        if wrong:
            raise SpecError(wrong)
        fixed = self.pattern == "fixed"
        return self.replace(
            heads=heads,
            head_dim=self.head_dim or geometry.dim // heads,
            local_attn_ctx=found.local_attn_ctx,
            num_verts=found.num_verts if fixed else None,
            vertsize=found.vertsize if fixed else None,
        )

    def value_width(self, geometry: Geometry) -> int:
        assert self.heads and self.head_dim, "unresolved"
        return self.heads * self.head_dim

    def cost(self, geometry: Geometry) -> Cost:
        """6·4·dim·H·d_h training FLOPs per token for the projections, 6·H·2·d_h·κ for the scores, κ being the mean
        number of keys that the pattern shows a query; 2·H·d_h numbers per token while decoding."""
        assert self.heads and self.head_dim, "unresolved"
        heads, width, context = self.heads, self.head_dim, geometry.context
        weights = dense_cost(4 * geometry.dim * heads * width)
        pairs = self.layout.pairs(context)
        scores = attention_cost(heads=heads, qk_dim=width, v_dim=width, pairs=pairs, context=context)
        return weights + scores + Cost(state_bytes=2 * 2 * heads * width)

    def build(self, geometry: Geometry, *, position: Position) -> Sparse:
        return Sparse(self, geometry=geometry, position=position)

    def density(self, *, context: int) -> float:
        """Share of the causal pairs that the resolved pattern allows."""
        return self.layout.density(context)

    @property
    def layout(self) -> Pattern:
        """The pattern of the resolved Spec."""
        assert self.local_attn_ctx, "unresolved"
        return Pattern(
            kind=self.pattern,
            blocksize=self.blocksize,
            local_attn_ctx=self.local_attn_ctx,
            num_verts=self.num_verts or 1,
            vertsize=self.vertsize or 1,
        )

    def _columns_without_use(self) -> list[Problem]:
        if self.pattern == "fixed":
            return []
        given = {"num_verts": self.num_verts, "vertsize": self.vertsize}
        rule = f"pattern={self.pattern} has no summary columns"
        return [Problem(key=k, value=v, rule=rule, remedy="use null") for k, v in given.items() if v is not None]


class Sparse(Attention[KeyValue]):
    """Multi-head attention over the pairs that the pattern allows. Decoding keeps every key and value."""

    mask: Bool[Tensor, "heads context context"]

    def __init__(self, spec: SparseSpec, *, geometry: Geometry, position: Position) -> None:
        super().__init__()
        dim, context = geometry.dim, geometry.context
        assert spec.heads and spec.head_dim, "unresolved"
        self.head_dim = spec.head_dim
        self.scale = spec.head_dim**-geometry.head_power
        self.kernel = spec.kernel
        self.position = position
        width = spec.heads * spec.head_dim
        self.q_proj = nn.Linear(dim, width, bias=False)
        self.k_proj = nn.Linear(dim, width, bias=False)
        self.v_proj = nn.Linear(dim, width, bias=False)
        self.o_proj = nn.Linear(width, dim, bias=False)
        mask = visible(spec.layout.mask, q_len=context, k_len=context, heads=spec.heads)
        self.register_buffer("mask", mask.expand(spec.heads, -1, -1), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: KeyValue | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], KeyValue]:
        assert state is None or docs is None, "documents are packed in training, decoding has one"
        offset = state.length if state else 0
        flat_v = self.v_proj(x) if values is None else self.v_proj(x) + values
        q, k, v = (split_heads(flat, self.head_dim) for flat in (self.q_proj(x), self.k_proj(x), flat_v))
        q, k = self.position.rotate(q, k, offset=offset)
        state = extend(state, k, v)
        if docs is None:
            allowed = self.mask[None, :, offset : state.length, : state.length]
        else:
            allowed = self.packed(docs)
        bias = self.position.bias(q.shape[2], state.length, heads=q.shape[1], device=x.device)
        attend = fused if self.kernel == "sdpa" else naive_attention
        y = attend(q, state.k, state.v, allowed=allowed, bias=bias, scale=self.scale)
        return self.o_proj(merge_heads(y)), state

    def packed(self, docs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch heads time time"]:
        """The pattern begun anew in every document, so that packing documents changes none of them."""
        position = document_positions(docs)
        pattern = self.mask[:, position[:, :, None], position[:, None, :]].transpose(0, 1)
        # A document that comes twice has the same positions twice: its first copy must not see the second.
        return pattern & same_document(docs).tril()


def fused(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch heads key head_dim"],
    v: Float[Tensor, "batch heads key head_dim"],
    *,
    allowed: Bool[Tensor, "#batch heads query key"],
    bias: Float[Tensor, "heads query key"] | None,
    scale: float,
) -> Float[Tensor, "batch heads query head_dim"]:
    """The same as `naive_attention` through `scaled_dot_product_attention`, which takes mask and bias as one tensor, in
    the type of the queries."""
    mask = allowed if bias is None else bias.masked_fill(~allowed, float("-inf")).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
