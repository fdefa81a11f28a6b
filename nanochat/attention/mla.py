"""Multi-head latent attention (DeepSeek-V2, 2405.04434, section 2.1; DeepSeek-V3, 2412.19437, eqs. 1-11).

Decoding keeps one latent per token, from which every head's keys and values are made, and one rotary key that all
heads share. There are two forms of the same function, and which one runs depends on `state` alone:

- expanded, when `state` is None (training, prefill): keys and values are made for every head;
- absorbed, when a state is given (decoding): the key projection moves into the query and the value projection
  behind the weighted sum, so that attention runs on the latents themselves.

With `kernel: naive` it is always the expanded form, in plain matmuls.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.heads import resolve_heads
from nanochat.attention.keyvalue import merge_heads, split_heads
from nanochat.attention.masked import causal, naive_attention, same_document, visible
from nanochat.core.geometry import Cost, Geometry, attention_cost, dense_cost
from nanochat.core.spec import Count
from nanochat.norm.rmsnorm import RMSNorm
from nanochat.position.base import Hook, Position

LATENT_EPS = 1e-6
"""Of the norms on the latents: DeepSeek's models use this value whatever their other norms use."""


class Sizes(NamedTuple):
    """Widths of a resolved MLA, in the papers' order: d_h^nope, d_h^R, d_v, d_c, d_c' (None: no query latent)."""

    heads: int
    nope: int
    rope: int
    value: int
    rank: int
    q_rank: int | None


class MLASpec(AttentionSpec):
    """heads: null as in `resolve_heads` · q_lora_rank: width of the query latent, null is *no* query bottleneck (the
    one null that is a choice and stays) · kv_lora_rank: width of the latent that decoding keeps, null is
    max(16, dim // 4) · qk_nope_head_dim: channels of a query or key head without position, null is dim // heads ·
    qk_rope_head_dim: channels that carry position, null is half of those, made even · v_head_dim: channels of a
    value head, null is dim // heads · kernel: sdpa (torch's fused attention) or naive (plain matmuls).
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed", "rotate"})
    rotated: ClassVar[str | None] = "qk_rope_head_dim"

    heads: Count | None
    q_lora_rank: Count | None
    kv_lora_rank: Count | None
    qk_nope_head_dim: Count | None
    qk_rope_head_dim: Count | None
    v_head_dim: Count | None
    kernel: Literal["sdpa", "naive"]

    def resolve(self, geometry: Geometry) -> Self:
        split = self.qk_nope_head_dim is None or self.v_head_dim is None
        heads = resolve_heads(self.heads, dim=geometry.dim, split=split)
        nope = self.qk_nope_head_dim or geometry.dim // heads
        return self.replace(
            heads=heads,
            kv_lora_rank=self.kv_lora_rank or max(16, geometry.dim // 4),
            qk_nope_head_dim=nope,
            qk_rope_head_dim=self.qk_rope_head_dim or max(2, nope // 4 * 2),
            v_head_dim=self.v_head_dim or geometry.dim // heads,
        )

    def cost(self, geometry: Geometry) -> Cost:
        """6·(dim·H(dn+dr) + dim(rank+dr) + rank·H(dn+dv) + H·dv·dim) training FLOPs per token for the weights (with
        a query latent q_rank(dim + H(dn+dr)) in place of the first), 6·H(dn+dr+dv)·(T+1)/2 for the scores; rank+dr
        numbers per token while decoding.
        """
        heads, nope, rope, value, rank, q_rank = self.sizes
        dim, qk_dim = geometry.dim, nope + rope
        query = heads * qk_dim * (q_rank or dim) + (dim * q_rank + q_rank if q_rank else 0)
        latent = dim * (rank + rope) + rank + rank * heads * (nope + value)
        weights = dense_cost(query + latent + heads * value * dim, lookups=rank + (q_rank or 0))
        pairs = (geometry.context + 1) / 2
        scores = attention_cost(heads=heads, qk_dim=qk_dim, v_dim=value, pairs=pairs, context=geometry.context)
        return weights + scores + Cost(state_bytes=2 * (rank + rope))

    def build(self, geometry: Geometry, *, position: Position) -> MLA:
        return MLA(self, geometry=geometry, position=position)

    @property
    def sizes(self) -> Sizes:
        """The widths of the resolved Spec."""
        assert self.heads and self.qk_nope_head_dim and self.qk_rope_head_dim, "unresolved"
        assert self.v_head_dim and self.kv_lora_rank, "unresolved"
        return Sizes(
            heads=self.heads,
            nope=self.qk_nope_head_dim,
            rope=self.qk_rope_head_dim,
            value=self.v_head_dim,
            rank=self.kv_lora_rank,
            q_rank=self.q_lora_rank,
        )


class Latent(NamedTuple):
    """What decoding keeps of all tokens so far: normed latents, and the rotary keys, rotated already."""

    latent: Float[Tensor, "batch time rank"]
    k_rope: Float[Tensor, "batch time rope"]

    @property
    def length(self) -> int:
        return self.latent.shape[1]


class MLA(Attention[Latent]):
    """Projections bear DeepSeek's names. A query or key head is [nope | rope], one of `kv_b_proj` [nope | value]."""

    def __init__(self, spec: MLASpec, *, geometry: Geometry, position: Position) -> None:
        super().__init__()
        dim = geometry.dim
        self.sizes = sizes = spec.sizes
        self.kernel = spec.kernel
        self.position = position
        self.scale = (sizes.nope + sizes.rope) ** -geometry.head_power
        q_width = sizes.heads * (sizes.nope + sizes.rope)
        if sizes.q_rank is None:
            self.q_proj = nn.Linear(dim, q_width, bias=False)
        else:
            self.q_a_proj = nn.Linear(dim, sizes.q_rank, bias=False)
            self.q_a_norm = RMSNorm(sizes.q_rank, eps=LATENT_EPS)
            self.q_b_proj = nn.Linear(sizes.q_rank, q_width, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(dim, sizes.rank + sizes.rope, bias=False)
        self.kv_a_norm = RMSNorm(sizes.rank, eps=LATENT_EPS)
        self.kv_b_proj = nn.Linear(sizes.rank, sizes.heads * (sizes.nope + sizes.value), bias=False)
        self.o_proj = nn.Linear(sizes.heads * sizes.value, dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: Latent | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Latent]:
        assert state is None or docs is None, "documents are packed in training, decoding has one"
        q, new = self.project(x, offset=state.length if state else 0)
        full = new if state is None else Latent(*(torch.cat(pair, dim=1) for pair in zip(state, new, strict=True)))
        if self.kernel == "naive":
            y = naive(self, q, full, docs=docs)
        elif state is None:
            y = expanded(self, q, full, docs=docs)
        else:
            y = absorbed(self, q, full)
        return self.o_proj(merge_heads(y)), full

    def project(
        self, x: Float[Tensor, "batch time dim"], *, offset: int
    ) -> tuple[Float[Tensor, "batch heads time qk_dim"], Latent]:
        """Rotated queries, and the latents and rotated shared keys of the same tokens."""
        sizes = self.sizes
        flat = self.q_proj(x) if sizes.q_rank is None else self.q_b_proj(self.q_a_norm(self.q_a_proj(x)))
        q_nope, q_rope = split_heads(flat, sizes.nope + sizes.rope).split([sizes.nope, sizes.rope], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([sizes.rank, sizes.rope], dim=-1)
        q_rope, k_rope = self.position.rotate(q_rope, k_rope, offset=offset)
        return torch.cat([q_nope, q_rope], dim=-1), Latent(self.kv_a_norm(latent), k_rope)

    def expand(
        self, state: Latent
    ) -> tuple[Float[Tensor, "batch heads time qk_dim"], Float[Tensor, "batch heads time v_dim"]]:
        """Every head's own keys and values."""
        sizes = self.sizes
        both = split_heads(self.kv_b_proj(state.latent), sizes.nope + sizes.value)
        k_nope, v = both.split([sizes.nope, sizes.value], dim=-1)
        k_rope = state.k_rope[:, None].expand(-1, sizes.heads, -1, -1)
        return torch.cat([k_nope, k_rope], dim=-1), v


def expanded(
    mla: MLA,
    q: Float[Tensor, "batch heads time qk_dim"],
    state: Latent,
    *,
    docs: Int[Tensor, "batch time"] | None,
) -> Float[Tensor, "batch heads time v_dim"]:
    """The training form: fused attention over every head's own keys and values, from the sequence's start."""
    k, v = mla.expand(state)
    value = v.shape[-1]
    # Zeros up to one width change no score and no sum; with unequal widths the fused kernels refuse, and torch
    # falls to plain matmuls: twice the time of this on a CPU.
    width = max(q.shape[-1], value)
    q, k, v = (part if part.shape[-1] == width else F.pad(part, (0, width - part.shape[-1])) for part in (q, k, v))
    if docs is None:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=mla.scale)
    else:
        allowed = visible(causal, q_len=q.shape[2], k_len=k.shape[2], device=q.device) & same_document(docs)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=mla.scale)
    return y[..., :value]


def absorbed(
    mla: MLA, q: Float[Tensor, "batch heads query qk_dim"], state: Latent
) -> Float[Tensor, "batch heads query v_dim"]:
    """The decoding form, for the last queries: multi-query attention whose one key is [latent | rotary key].

    q·(W_k c) = (W_kᵀ q)·c, and Σ p (W_v c) = W_v Σ p c (DeepSeek-V2, section 2.1.2).
    """
    sizes = mla.sizes
    weight = rearrange(mla.kv_b_proj.weight, "(heads width) rank -> heads width rank", heads=sizes.heads)
    w_k, w_v = weight.split([sizes.nope, sizes.value], dim=1)
    q_nope, q_rope = q.split([sizes.nope, sizes.rope], dim=-1)
    q = torch.cat([q_nope @ w_k, q_rope], dim=-1)
    k = torch.cat([state.latent, state.k_rope], dim=-1)[:, None]
    allowed = visible(causal, q_len=q.shape[2], k_len=k.shape[2], device=q.device)
    scores = (q @ k.transpose(-2, -1) * mla.scale).masked_fill(~allowed, float("-inf"))
    return scores.softmax(dim=-1) @ state.latent[:, None] @ w_v.transpose(-2, -1)


def naive(
    mla: MLA,
    q: Float[Tensor, "batch heads query qk_dim"],
    state: Latent,
    *,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query v_dim"]:
    """The expanded form by the definition, for the last queries, in plain matmuls."""
    k, v = mla.expand(state)
    allowed = visible(causal, q_len=q.shape[2], k_len=k.shape[2], device=q.device)
    if docs is not None:
        allowed = allowed & same_document(docs)
    return naive_attention(q, k, v, allowed=allowed, scale=mla.scale)
