"""The blocks of Native Sparse Attention (Yuan et al., 2502.11089, sections 3.3 and 4.1): sizes, places and choice.

Blocks are counted from the start of their document. Compression block i covers the tokens i·d … i·d + l - 1 and is
seen once it is complete; selection block j covers j·l' … j·l' + l' - 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nanochat.attention.heads import divisors
from nanochat.attention.masked import document_positions
from nanochat.core.errors import Problem, alternatives

FIXED = 3
"""Blocks that are always selected: the first, the query's own and the one before (the paper's section 4.1)."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The sizes in tokens, with the paper's letters: compress_block l, compress_stride d, select_block l', window w;
    selected is n, the number of blocks that a query selects."""

    compress_block: int
    compress_stride: int
    select_block: int
    selected: int
    window: int

    def complete(self, tokens: int) -> int:
        """How many compression blocks lie within the first `tokens` tokens (eq. 7)."""
        return max(0, (tokens - self.compress_block) // self.compress_stride + 1)

    def pairs(self, context: int) -> tuple[float, float, float]:
        """Mean number of keys that a query sees over a full context: compressed, selected and in the window.

        None depends on the data: of the selected blocks all are full but the query's own.
        """
        size = self.select_block
        compressed = sum(self.complete(query + 1) for query in range(context))
        chosen = sum((min(q // size + 1, self.selected) - 1) * size + q % size + 1 for q in range(context))
        window = sum(min(query + 1, self.window) for query in range(context))
        return compressed / context, chosen / context, window / context


def derive(
    *,
    compress_block: int | None,
    compress_stride: int | None,
    select_block: int | None,
    selected: int | None,
    window: int | None,
    context: int,
) -> Blocks:
    """Fill what is None; what is given stands, right or wrong (see `problems`).

    The paper's own sizes (32, 16, 64, 16, 512) from 4096 tokens on, and their like below, so that even 32 tokens have
    blocks to choose from. select_block: the power of two below √context, 4 to 64 · compress_block: half of it, 4 at
    least · compress_stride: the largest common divisor of both up to half a compress_block · selected: a quarter of
    the context's blocks, 4 to 16 · window: the power of two below context / 8, 4 to 512.
    """
    whole = _power_of_two(context)
    if select_block is None:
        least = max(min(64, max(_power_of_two(math.isqrt(context)), min(4, whole))), compress_block or 1)
        unit = compress_stride or 1
        select_block = -(-least // unit) * unit
    if compress_block is None:
        half = min(max(select_block // 2, min(4, select_block)), whole)
        unit = compress_stride or 1
        compress_block = max(1, half // unit) * unit
    if compress_stride is None:
        common = divisors(math.gcd(compress_block, select_block))
        compress_stride = max(size for size in common if size <= max(1, compress_block // 2))
    return Blocks(
        compress_block=compress_block,
        compress_stride=compress_stride,
        select_block=select_block,
        selected=selected or min(16, max(4, -(-context // select_block) // 4)),
        window=window or min(512, max(_power_of_two(max(1, context // 8)), min(4, whole))),
    )


def problems(blocks: Blocks, *, context: int) -> list[Problem]:
    """Every rule that the sizes break. Nothing is clipped."""
    found: list[Problem] = []
    block, stride, select = blocks.compress_block, blocks.compress_stride, blocks.select_block
    for name, size in (("compress_block", block), ("select_block", select)):
        if size % stride:
            remedy = f"try {alternatives(divisors(math.gcd(block, select)))}"
            found.append(Problem(key="compress_stride", value=stride, rule=f"must divide {name}={size}", remedy=remedy))
    for name, most in (("select_block", select), ("context", context)):
        if block > most:
            valid = range(stride, min(select, context) + 1, stride)[-3:]
            remedy = f"try {alternatives(valid)}" if valid else "lower compress_stride"
            found.append(
                Problem(key="compress_block", value=block, rule=f"must be at most {name}={most}", remedy=remedy)
            )
    if blocks.selected < FIXED:
        rule = f"must be at least {FIXED}, since the first block and two local ones are always selected"
        found.append(Problem(key="selected", value=blocks.selected, rule=rule, remedy=f"try {FIXED + 1}"))
    return found


class Places(NamedTuple):
    """Where the tokens and the compression blocks of a row lie, tokens being counted from the row's start.

    query: the tokens that ask · position: of every token in its document · begin: the first token of every token's
    document · start: the first token of every compression block · real: whether that block is one (packed rows have
    unlike numbers of them).
    """

    query: Int[Tensor, " query"]
    position: Int[Tensor, "#batch key"]
    begin: Int[Tensor, "#batch key"]
    start: Int[Tensor, "#batch compressed"]
    real: Bool[Tensor, "#batch compressed"]

    @classmethod
    def single(cls, blocks: Blocks, *, q_len: int, k_len: int, device: torch.device) -> Self:
        """One document, of which the last `q_len` of `k_len` tokens ask."""
        token = torch.arange(k_len, device=device)
        start = torch.arange(blocks.complete(k_len), device=device)[None] * blocks.compress_stride
        return cls(token[k_len - q_len :], token[None], torch.zeros_like(token)[None], start, start >= 0)

    @classmethod
    def packed(cls, blocks: Blocks, docs: Int[Tensor, "batch time"]) -> Self:
        """Several documents, each with blocks of its own. One begins wherever the number changes."""
        block, stride = blocks.compress_block, blocks.compress_stride
        token = torch.arange(docs.shape[1], device=docs.device)
        position = document_positions(docs)
        # A block is complete where the token at its end still counts on from its start. There are never more of
        # them than strides in the row: each ends in its own document, and l ≥ d.
        end = F.pad(position[:, block - 1 :], (0, min(block - 1, len(token))), value=-1)
        found = (position % stride == 0) & (end == position + block - 1)
        start = (~found).byte().argsort(dim=1, stable=True)[:, : len(token) // stride]
        return cls(token, position, token - position, start, found.gather(1, start))

    def compressed_seen(self, blocks: Blocks) -> Bool[Tensor, "#batch query compressed"]:
        """A query sees the blocks of its own document that are complete, its own token included."""
        last, begin = self.start + blocks.compress_block - 1, self.begin.gather(1, self.start)
        complete = last[:, None, :] <= self.query[:, None]
        same = begin[:, None, :] == self.begin[:, self.query][:, :, None]
        return complete & same & self.real[:, None, :]

    def tokens_seen(self, *, window: int | None = None) -> Bool[Tensor, "#batch query key"]:
        """A query sees the tokens of its document up to itself, or the last `window` of them."""
        key = torch.arange(self.position.shape[1], device=self.query.device)
        seen = (key <= self.query[:, None]) & (self.begin[:, self.query][:, :, None] == self.begin[:, None, :])
        return seen if window is None else seen & (self.query[:, None] - key < window)

    def from_document(self, p: Float[Tensor, "batch *heads query compressed"]) -> Tensor:
        """The same with the first block of the query's own document at index 0, and zeros behind its last."""
        before = self.start[:, None, :] < self.begin[:, self.query][:, :, None]
        first = (before & self.real[:, None, :]).sum(dim=-1)
        index = first[:, :, None] + torch.arange(p.shape[-1], device=p.device)
        index = index.clamp(max=p.shape[-1]).reshape(p.shape[0], *[1] * (p.ndim - 3), *index.shape[1:])
        return F.pad(p, (0, 1)).gather(-1, index.expand(p.shape))


def importance(
    p: Float[Tensor, "batch kv_heads query compressed"], blocks: Blocks, *, count: int
) -> Float[Tensor, "batch kv_heads query {count}"]:
    """What each of `count` selection blocks gets of the compressed attention (eq. 9).

    A compression block counts once for each stride of d tokens that it shares with the selection block: with both
    sums written out, block j gets p[(l'/d)·j + m - n] over 0 ≤ m < l'/d and 0 ≤ n < l/d, everything from 0 on (the
    paper's -m - n is the same with j and the index of p from 1 on).
    """
    wide, narrow = blocks.select_block // blocks.compress_stride, blocks.compress_block // blocks.compress_stride
    p = F.pad(p, (narrow - 1, wide * count - p.shape[-1]))
    total = p.new_zeros(*p.shape[:-1], count)
    # Sums of slices round alike for all blocks and lengths, so that blocks which tie here tie everywhere.
    for offset in range(1 - narrow, wide):
        times = min(wide, offset + narrow) - max(0, offset)
        begin = offset + narrow - 1
        total = total + times * p[..., begin : begin + wide * (count - 1) + 1 : wide]
    return total


def choose(
    importance: Float[Tensor, "batch kv_heads query blocks"],
    blocks: Blocks,
    *,
    position: Int[Tensor, "#batch query"],
) -> Bool[Tensor, "batch kv_heads query blocks"]:
    """The n blocks that each query selects among those that have begun (eq. 11): the three of `FIXED`, then the most
    important ones; of equal ones the first. Where fewer have begun, all of them."""
    own = (position // blocks.select_block)[:, None, :, None]
    block = torch.arange(importance.shape[-1], device=importance.device)
    fixed = (block == 0) | (block == own) | (block == own - 1)
    score = importance.masked_fill(fixed, math.inf).masked_fill(block > own, -math.inf)
    best = score.argsort(dim=-1, descending=True, stable=True)[..., : blocks.selected]
    return torch.zeros_like(score, dtype=torch.bool).scatter(-1, best, True) & (block <= own)


def _power_of_two(most: int) -> int:
    """The largest power of two up to `most`."""
    return 1 << (most.bit_length() - 1)
