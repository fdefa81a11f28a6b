"""The patterns of the Sparse Transformer (Child et al., 1904.10509, section 4), in the terms of its released code.

blocksize: tokens per block · local_attn_ctx: the segment (fixed), the stride (strided) or the window (local), in
tokens · stride: local_attn_ctx in blocks · vertsize: width of a summary column, in blocks · num_verts: how many
different summary columns there are, which heads take in turn · n_bctx: the context in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from nanochat.attention.heads import divisors
from nanochat.core.errors import Problem

Kind = Literal["fixed", "strided", "local"]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Which keys a query sees; `mask` is its definition, everything else is held against it.

    fixed: its own segment and, in every earlier one, the head's summary column; column 0 is the last `vertsize`
    blocks of a segment, column 1 the ones before, and so on · strided: every local_attn_ctx-th key, counted back from
    itself · local: the last local_attn_ctx keys. Only fixed has columns: elsewhere `num_verts`, `vertsize` are 1.
    """

    kind: Kind
    blocksize: int
    local_attn_ctx: int
    num_verts: int
    vertsize: int

    def mask(self, query: Tensor, key: Tensor, head: Tensor) -> Tensor:
        """Whether `query` sees `key` in `head`, elementwise."""
        width = self.local_attn_ctx
        if self.kind == "local":
            return (key <= query) & (query - key < width)
        if self.kind == "strided":
            return (key <= query) & ((query - key) % width == 0)
        column = (width - 1 - key % width) // (self.vertsize * self.blocksize)
        return (key <= query) & ((query // width == key // width) | (column == head % self.num_verts))

    def pairs(self, context: int) -> float:
        """Mean number of keys that a query sees over a full context, the same for every head."""
        width, column = self.local_attn_ctx, self.vertsize * self.blocksize
        if self.kind == "local":
            seen = sum(min(q + 1, width) for q in range(context))
        elif self.kind == "strided":
            seen = sum(q // width + 1 for q in range(context))
        else:
            seen = sum(q % width + 1 + q // width * column for q in range(context))
        return seen / context

    def density(self, context: int) -> float:
        """Share of the causal pairs that are seen: 1 is plain causal attention."""
        return self.pairs(context) / ((context + 1) / 2)


def derive(
    kind: Kind,
    *,
    blocksize: int,
    local_attn_ctx: int | None,
    num_verts: int | None,
    vertsize: int | None,
    heads: int,
    context: int,
) -> Pattern:
    """Fill what is None; what is given stands, right or wrong (see `problems`).

    local_attn_ctx: the largest power-of-two number of blocks whose square in tokens fits the context, since cost is
    least at √context. num_verts: the most columns that divide heads and stride alike and leave each `vertsize`
    blocks. vertsize: the widest divisor of the stride that leaves room for `num_verts` columns, four at least.
    """
    width = local_attn_ctx or blocksize * 2 ** int(math.log2(max(1.0, math.sqrt(context) / blocksize)))
    stride = max(1, width // blocksize)
    if kind != "fixed":
        return Pattern(kind=kind, blocksize=blocksize, local_attn_ctx=width, num_verts=1, vertsize=1)
    if num_verts is None:
        room = max(1, stride // (vertsize or 1))
        num_verts = max(n for n in divisors(math.gcd(heads, stride)) if n <= room)
    if vertsize is None:
        vertsize = max(v for v in divisors(stride) if v * max(num_verts, 4) <= stride or v == 1)
    return Pattern(kind=kind, blocksize=blocksize, local_attn_ctx=width, num_verts=num_verts, vertsize=vertsize)


def problems(pattern: Pattern, *, heads: int, context: int) -> list[Problem]:
    """Every rule that the pattern breaks, the last one with the nearest pattern that breaks none. Nothing is clipped:
    a clipped pattern may be plain causal attention, and what was then found of "sparse" would mean nothing.
    """
    broken = list(_broken(pattern, heads=heads, context=context))
    near = nearest_valid(pattern, heads=heads, context=context) if broken else None
    if near is not None:
        names = ["blocksize", "local_attn_ctx", *(["num_verts", "vertsize"] if pattern.kind == "fixed" else [])]
        text = ", ".join(f"{name}={getattr(near, name)}" for name in names)
        broken[-1] = replace(broken[-1], remedy=f"the nearest that is valid: {text}")
    return broken


def nearest_valid(pattern: Pattern, *, heads: int, context: int) -> Pattern | None:
    """The valid pattern nearest to an invalid one, and never one that is plain causal attention.

    The segment and the number of columns say what a pattern is, so they change last: the distance is the sum of
    |log₂| ratios, those two counted eight times. Ties keep the width of a column. None for contexts of a few tokens.
    """

    def distance(other: Pattern) -> tuple[float, float]:
        def ratio(name: str) -> float:
            return abs(math.log2(getattr(other, name) / getattr(pattern, name)))

        shape = ratio("local_attn_ctx") + ratio("num_verts")
        return round(8 * shape + ratio("blocksize") + ratio("vertsize"), 9), ratio("vertsize")

    return min(_candidates(pattern, heads=heads, context=context), key=distance, default=None)


def _broken(pattern: Pattern, *, heads: int, context: int) -> Iterator[Problem]:
    block, width, verts, vert = pattern.blocksize, pattern.local_attn_ctx, pattern.num_verts, pattern.vertsize
    if context % block:
        yield Problem(key="blocksize", value=block, rule=f"must divide context={context}")
    if width % block:
        yield Problem(key="local_attn_ctx", value=width, rule=f"must be a multiple of blocksize={block}")
    if width > context:
        yield Problem(key="local_attn_ctx", value=width, rule=f"must be at most context={context}")
    if pattern.kind != "fixed":
        return
    stride = max(1, width // block)
    blocks = f"the stride of {stride} in blocks (local_attn_ctx={width} / blocksize={block})"
    if vert > stride or stride % vert:
        yield Problem(key="vertsize", value=vert, rule=f"must divide {blocks}")
    if heads % verts:
        yield Problem(key="num_verts", value=verts, rule=f"must divide heads={heads}")
    if vert <= stride < verts * vert:
        yield Problem(key="num_verts", value=verts, rule=f"columns of vertsize={vert} must fit into {blocks}")


def _candidates(pattern: Pattern, *, heads: int, context: int) -> Iterator[Pattern]:
    """Valid patterns around one: its own segment, those that divide the context, and powers of two of blocks."""
    for block in divisors(context):
        blocks = context // block
        widths = {block * n for n in (*divisors(blocks), *(2**i for i in range(blocks.bit_length())))}
        widths.add(pattern.local_attn_ctx)
        for width in sorted(widths):
            for verts, vert in _columns(pattern.kind, stride=width // block, heads=heads):
                found = replace(pattern, blocksize=block, local_attn_ctx=width, num_verts=verts, vertsize=vert)
                dense = width == context or (pattern.kind == "fixed" and vert == width // block)
                if not dense and not list(_broken(found, heads=heads, context=context)):
                    yield found


def _columns(kind: Kind, *, stride: int, heads: int) -> Iterator[tuple[int, int]]:
    if kind != "fixed":
        yield 1, 1
        return
    for vert in divisors(stride):
        for verts in divisors(heads):
            if verts * vert <= stride:
                yield verts, vert
