"""Native Sparse Attention (Yuan et al., 2502.11089): compressed, selected and nearby keys, mixed by learned gates.

Every query attends three times (eq. 5), each branch having keys and values of its own (section 3.3.3, so that the
easy gradients of nearby tokens do not starve the other branches) and the three sharing the queries:

- compressed: overlapping blocks of tokens, each made one key and one value by φ (eq. 7), seen once complete;
- selected: all tokens of the few blocks that the compressed attention finds important, the same blocks for all
  heads that share keys (eqs. 8-12);
- window: the last tokens.

Our own choices, where the paper leaves it open: the gates are σ(W x), one for each head and branch, without a hidden
layer; φ is W₂·gelu(W₁·vec(block + e)), e being learned rows for the places in a block, one φ for keys and one for
values; a compressed key has no single position, so φ reads unrotated keys, which meet unrotated queries, and only the
other two branches are rotated.

The choice of blocks reaches the fused kernel as a dense boolean mask: exact on every device, and slower than full
attention. `Cost.flops` counts the pairs that each branch allows; `Cost.flops_mfu` has every query meet every token
twice (selected, window) and every compression block of the context once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.blocks import Blocks, Places, choose, derive, importance, problems
from nanochat.attention.heads import resolve_heads, resolve_kv_heads
from nanochat.attention.keyvalue import merge_heads, split_heads
from nanochat.attention.masked import naive_attention
from nanochat.core.errors import SpecError
from nanochat.core.geometry import Cost, Geometry, attention_cost, dense_cost
from nanochat.core.roles import Role
from nanochat.core.spec import Count
from nanochat.position.base import Hook, Position

BRANCHES = 3


class NSASpec(AttentionSpec):
    """heads, kv_heads, head_dim: as in `attention=gqa` · compress_block, compress_stride, select_block, selected,
    window: as `Blocks` defines and `derive` fills them · kernel, of the selected and the window branch: sdpa (torch's
    fused attention with a dense mask) or naive (plain matmuls, the reference); the compressed branch needs its
    probabilities for the choice, and both kernels share it.
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed", "rotate"})
    rotated: ClassVar[str | None] = "head_dim"

    heads: Count | None
    kv_heads: Count | Literal["heads"] | None
    head_dim: Count | None
    compress_block: Count | None
    compress_stride: Count | None
    select_block: Count | None
    selected: Count | None
    window: Count | None
    kernel: Literal["sdpa", "naive"]

    def resolve(self, geometry: Geometry) -> Self:
        heads = resolve_heads(self.heads, dim=geometry.dim, split=self.head_dim is None)
        kv_heads = resolve_kv_heads(self.kv_heads, heads=heads)
        blocks = derive(
            compress_block=self.compress_block,
            compress_stride=self.compress_stride,
            select_block=self.select_block,
            selected=self.selected,
            window=self.window,
            context=geometry.context,
        )
        wrong = problems(blocks, context=geometry.context)
        if wrong:
            raise SpecError(wrong)
        head_dim = self.head_dim or geometry.dim // heads
        return self.replace(heads=heads, kv_heads=kv_heads, head_dim=head_dim, **vars(blocks))

    def value_width(self, geometry: Geometry) -> int:
        """The values of all three branches."""
        _, kv_heads, head_dim = self.sizes
        return BRANCHES * kv_heads * head_dim

    def cost(self, geometry: Geometry) -> Cost:
        """With κ the mean keys that a query sees in a branch and N = ⌊(T - l) / d⌋ + 1 compression blocks: the
        projections and gates, 6·H·2·d_h·(κ_compressed + κ_selected + κ_window) for the attention, and the two φ at
        6·kv_heads·(l + 1)·d_h² FLOPs for each block, N/T blocks a token. Kept per token: keys and values of the
        selected branch, and, shared out over the context, the window's, the compressed ones and the tokens that no
        complete block has used up."""
        heads, kv_heads, width = self.sizes
        blocks, context = self.blocks, geometry.context
        made = blocks.complete(context)
        weights = dense_cost(geometry.dim * ((2 * heads + 2 * BRANCHES * kv_heads) * width + BRANCHES * heads))
        block = blocks.compress_block
        compress = 2 * (block + 1) * width**2
        flops = 6 * compress * kv_heads * made / context
        params = compress + 2 * block * width
        weights += Cost(params=params, active_params=params, flops=flops, flops_mfu=flops)
        for pairs, keys in zip(blocks.pairs(context), (made, context, context), strict=True):
            weights += attention_cost(heads=heads, qk_dim=width, v_dim=width, pairs=pairs, context=keys)
        kept = context + min(context, blocks.window) + made + context - made * blocks.compress_stride
        return weights + Cost(state_bytes=2 * 2 * kv_heads * width * kept / context)

    def build(self, geometry: Geometry, *, position: Position) -> NSA:
        return NSA(self, geometry=geometry, position=position)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(heads, kv_heads, head_dim) of the resolved Spec."""
        assert self.heads and isinstance(self.kv_heads, int) and self.head_dim, "unresolved"
        return self.heads, self.kv_heads, self.head_dim

    @property
    def blocks(self) -> Blocks:
        """The block sizes of the resolved Spec."""
        assert self.compress_block and self.compress_stride and self.select_block, "unresolved"
        assert self.selected and self.window, "unresolved"
        return Blocks(
            compress_block=self.compress_block,
            compress_stride=self.compress_stride,
            select_block=self.select_block,
            selected=self.selected,
            window=self.window,
        )


class Kept(NamedTuple):
    """Keys and values ([2, ...], in this order) of one document so far; those of packed documents are of no use.

    selected: of all tokens · window: of the last ones, at most as many as the window is wide · compressed: of all
    complete blocks · tail: of the tokens from the next block's start on. The first two are rotated already.
    """

    selected: Float[Tensor, "2 batch kv_heads time head_dim"]
    window: Float[Tensor, "2 batch kv_heads window head_dim"]
    compressed: Float[Tensor, "2 batch kv_heads compressed head_dim"]
    tail: Float[Tensor, "2 batch kv_heads tail head_dim"]

    @property
    def length(self) -> int:
        return self.selected.shape[3]


class Compress(nn.Module):
    """φ of eq. 7: the vectors of a block, each with its place in the block added, as one vector."""

    roles: Mapping[str, Role] = {"place": "embedding"}

    def __init__(self, *, block: int, width: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(block, width))
        self.up_proj = nn.Linear(block * width, width, bias=False)
        self.down_proj = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "batch heads time width"], *, start: Int[Tensor, "#batch blocks"]
    ) -> Float[Tensor, "batch heads blocks width"]:
        """One vector for each block of `x` that begins at `start`."""
        batch, heads, time, width = x.shape
        token = start[:, :, None] + torch.arange(len(self.place), device=x.device)
        # A packed row's missing blocks may point past its end; nobody sees what they read instead.
        token = token.clamp(max=time - 1).flatten(1)[:, None, :, None].expand(batch, heads, -1, width)
        blocks = x.gather(2, token).unflatten(2, (-1, len(self.place)))
        return self.down_proj(F.gelu(self.up_proj((blocks + self.place).flatten(-2))))


class NSA(Attention[Kept]):
    """Channels of `k_proj` and `v_proj` are [compressed | selected | window], those of `gate_proj` likewise."""

    def __init__(self, spec: NSASpec, *, geometry: Geometry, position: Position) -> None:
        super().__init__()
        dim = geometry.dim
        self.heads, self.kv_heads, self.head_dim = spec.sizes
        self.blocks = spec.blocks
        self.scale = self.head_dim**-geometry.head_power
        self.kernel = spec.kernel
        self.position = position
        self.q_proj = nn.Linear(dim, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(dim, BRANCHES * self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(dim, BRANCHES * self.kv_heads * self.head_dim, bias=False)
        self.gate_proj = nn.Linear(dim, BRANCHES * self.heads, bias=False)
        self.k_compress = Compress(block=self.blocks.compress_block, width=self.head_dim)
        self.v_compress = Compress(block=self.blocks.compress_block, width=self.head_dim)
        self.o_proj = nn.Linear(self.heads * self.head_dim, dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: Kept | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Kept]:
        assert state is None or docs is None, "documents are packed in training, decoding has one"
        offset, time = state.length if state else 0, x.shape[1]
        q, k = split_heads(self.q_proj(x), self.head_dim), split_heads(self.k_proj(x), self.head_dim)
        v = self.v_proj(x) if values is None else self.v_proj(x) + values
        k, turned_k = k.split([self.kv_heads, 2 * self.kv_heads], dim=1)
        turned_q, turned_k = self.position.rotate(q, turned_k, offset=offset)
        v = split_heads(v, self.head_dim)
        new = torch.stack([torch.cat([k, turned_k], dim=1), v]).chunk(BRANCHES, dim=2)
        if docs is None:
            places = Places.single(self.blocks, q_len=time, k_len=offset + time, device=x.device)
        else:
            places = Places.packed(self.blocks, docs)
        now = self.extend(state, *new, start=places.start)

        compressed, p = compressed_attention(
            q, *now.compressed, seen=places.compressed_seen(self.blocks), scale=self.scale
        )
        chosen = self.select(p.detach(), places, packed=docs is not None)
        near = places.tokens_seen(window=self.blocks.window)[:, None, :, -now.window.shape[3] :]
        attend = fused if self.kernel == "sdpa" else naive
        selected = attend(turned_q, *now.selected, seen=chosen, scale=self.scale)
        window = attend(turned_q, *now.window, seen=near, scale=self.scale)
        gates = rearrange(
            self.gate_proj(x).sigmoid(), "batch time (branch heads) -> branch batch heads time 1", branch=BRANCHES
        )
        y = gates[0] * compressed + gates[1] * selected + gates[2] * window
        return self.o_proj(merge_heads(y)), now._replace(window=now.window[:, :, :, -self.blocks.window :])

    def extend(
        self, state: Kept | None, tail: Tensor, selected: Tensor, window: Tensor, *, start: Int[Tensor, "#batch blocks"]
    ) -> Kept:
        """The state with new tokens after its own, its window still as long as their queries need it.

        start: the first tokens of all compression blocks, those of the state included.
        """
        made = 0
        if state is not None:
            made = state.compressed.shape[3]
            selected = torch.cat([state.selected, selected], dim=3)
            window = torch.cat([state.window, window], dim=3)
            tail = torch.cat([state.tail, tail], dim=3)
        used = made * self.blocks.compress_stride
        fresh = start[:, made:] - used
        compressed = torch.stack([self.k_compress(tail[0], start=fresh), self.v_compress(tail[1], start=fresh)])
        if state is not None:
            compressed = torch.cat([state.compressed, compressed], dim=3)
        return Kept(selected, window, compressed, tail[:, :, :, fresh.shape[1] * self.blocks.compress_stride :])

    @torch.no_grad()
    def select(
        self, p: Float[Tensor, "batch kv_heads group query compressed"], places: Places, *, packed: bool
    ) -> Bool[Tensor, "batch kv_heads query key"]:
        """Which tokens each query sees in the selected branch, the same for all heads of a group (eqs. 9-12)."""
        size, k_len = self.blocks.select_block, places.position.shape[1]
        shared = p.sum(dim=2)
        if packed:
            shared = places.from_document(shared)
        scores = importance(shared, self.blocks, count=-(-k_len // size))
        chosen = choose(scores, self.blocks, position=places.position[:, places.query])
        block = (places.position // size)[:, None, None, :].expand(*chosen.shape[:-1], -1)
        return chosen.gather(-1, block) & places.tokens_seen()[:, None]


def compressed_attention(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads compressed head_dim"],
    v: Float[Tensor, "batch kv_heads compressed head_dim"],
    *,
    seen: Bool[Tensor, "#batch query compressed"],
    scale: float,
) -> tuple[Float[Tensor, "batch heads query head_dim"], Float[Tensor, "batch kv_heads group query compressed"]]:
    """Attention to compressed blocks and its probabilities (eq. 8); exactly zero for a query that sees no block."""
    kv_heads, time = k.shape[1], q.shape[2]
    q = rearrange(q, "batch (kv_heads group) query width -> batch kv_heads (group query) width", kv_heads=kv_heads)
    scores = (q @ k.transpose(-2, -1) * scale).unflatten(2, (-1, time))
    seen = seen[:, None, None]
    # The least finite number and not -∞, of which a row alone would be NaN, forward and backward.
    p = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(dim=-1) * seen
    y = p.flatten(2, 3).to(v.dtype) @ v
    return rearrange(y, "batch kv_heads (group query) width -> batch (kv_heads group) query width", query=time), p


def fused(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    seen: Bool[Tensor, "#batch #kv_heads query key"],
    scale: float,
) -> Float[Tensor, "batch heads query head_dim"]:
    """Attention over the pairs in `seen` through `scaled_dot_product_attention`."""
    k, v, seen = per_query_head(q, k, v, seen)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)


def naive(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    seen: Bool[Tensor, "#batch #kv_heads query key"],
    scale: float,
) -> Float[Tensor, "batch heads query head_dim"]:
    """The same in plain matmuls."""
    k, v, seen = per_query_head(q, k, v, seen)
    return naive_attention(q, k, v, allowed=seen, scale=scale)


def per_query_head(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and mask copied to every query head of their group; a mask that all heads share stays one."""
    group = q.shape[1] // k.shape[1]
    if seen.shape[1] > 1:
        seen = seen.repeat_interleave(group, dim=1)
    return k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1), seen
