"""Grouped-query attention (Ainslie et al., 2305.13245): several query heads share one key and value head.

kv_heads = heads is multi-head attention (`attention=mha`), kv_heads = 1 multi-query attention.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.heads import divisors, resolve_heads
from nanochat.attention.keyvalue import KeyValue, extend, merge_heads, split_heads
from nanochat.attention.masked import causal, naive_attention, same_document, visible
from nanochat.core.errors import alternatives, spec_error
from nanochat.core.geometry import Cost, Geometry, attention_cost, dense_cost
from nanochat.core.spec import Count
from nanochat.position.base import Hook, Position


class GQASpec(AttentionSpec):
    """heads: query heads, null as in `resolve_heads` · kv_heads: key and value heads, a divisor of heads; null is
    its largest proper divisor, the word `heads` one for every query head · head_dim: channels of a head, null is
    dim // heads · kernel: sdpa (torch's fused attention) or naive (plain matmuls, the reference).
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed", "rotate"})
    rotated: ClassVar[str | None] = "head_dim"

    heads: Count | None
    kv_heads: Count | Literal["heads"] | None
    head_dim: Count | None
    kernel: Literal["sdpa", "naive"]

    def resolve(self, geometry: Geometry) -> Self:
        heads = resolve_heads(self.heads, dim=geometry.dim, split=self.head_dim is None)
        kv_heads = self.kv_heads
        if kv_heads is None:
            kv_heads = max(divisors(heads)[:-1], default=1)
        if kv_heads == "heads":
            kv_heads = heads
        if heads % kv_heads:
            remedy = f"try {alternatives(divisors(heads))}"
            raise spec_error("kv_heads", kv_heads, f"must divide heads={heads}", remedy)
        return self.replace(heads=heads, kv_heads=kv_heads, head_dim=self.head_dim or geometry.dim // heads)

    def cost(self, geometry: Geometry) -> Cost:
        heads, kv_heads, head_dim = self.sizes
        weights = dense_cost(2 * geometry.dim * (heads + kv_heads) * head_dim)
        pairs = (geometry.context + 1) / 2
        scores = attention_cost(heads=heads, qk_dim=head_dim, v_dim=head_dim, pairs=pairs, context=geometry.context)
        return weights + scores + Cost(state_bytes=2 * 2 * kv_heads * head_dim)

    def build(self, geometry: Geometry, *, position: Position) -> GQA:
        return GQA(self, geometry=geometry, position=position)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(heads, kv_heads, head_dim) of the resolved Spec."""
        assert self.heads and isinstance(self.kv_heads, int) and self.head_dim, "unresolved"
        return self.heads, self.kv_heads, self.head_dim


class GQA(Attention[KeyValue]):
    """Query head h reads key and value head h // (heads / kv_heads)."""

    def __init__(self, spec: GQASpec, *, geometry: Geometry, position: Position) -> None:
        super().__init__()
        dim = geometry.dim
        self.heads, self.kv_heads, self.head_dim = spec.sizes
        self.kernel = spec.kernel
        self.position = position
        self.q_proj = nn.Linear(dim, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(dim, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(dim, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: KeyValue | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], KeyValue]:
        assert state is None or docs is None, "documents are packed in training, decoding has one"
        q, k, v = (split_heads(p(x), self.head_dim) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.position.rotate(q, k, offset=state.length if state else 0)
        state = extend(state, k, v)
        attend = fused if self.kernel == "sdpa" else naive
        y = attend(q, state.k, state.v, docs=docs)
        return self.o_proj(merge_heads(y)), state


def fused(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """Causal attention of the last queries through `scaled_dot_product_attention`."""
    q_len, k_len = q.shape[2], k.shape[2]
    if docs is None and q_len in (1, k_len):
        # One query sees everything: no mask. `is_causal` aligns top-left, right only where q_len = k_len.
        return F.scaled_dot_product_attention(q, k, v, is_causal=q_len > 1, enable_gqa=True)
    allowed = visible(causal, q_len=q_len, k_len=k_len, device=q.device)
    if docs is not None:
        allowed = allowed & same_document(docs)
    # K and V are copied to every query head: `enable_gqa` beside a mask falls to a slow kernel on CUDA.
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


def naive(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """The same by the definition: every head's own copy of K and V, one dense mask, plain matmuls."""
    groups = q.shape[1] // k.shape[1]
    allowed = visible(causal, q_len=q.shape[2], k_len=k.shape[2], device=q.device)
    if docs is not None:
        allowed = allowed & same_document(docs)
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    return naive_attention(q, k, v, allowed=allowed, scale=q.shape[-1] ** -0.5)
