"""How many heads, and how wide: the rules that attentions share."""

from __future__ import annotations

from typing import Literal

from nanochat.core.errors import alternatives, spec_error


def divisors(n: int) -> list[int]:
    """All divisors of n, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def resolve_heads(heads: int | None, *, dim: int, split: bool) -> int:
    """The number of heads; null is max(4, dim // 64), or the nearest below it that divides `dim`.

    split: whether the heads share out `dim` between them, so that their number must divide it.
    Raises `SpecError` on `heads`, naming the nearest numbers that do.
    """
    if heads is None:
        most = max(4, dim // 64)
        return max(d for d in divisors(dim) if d <= most) if split else most
    if split and dim % heads:
        below = [d for d in divisors(dim) if d < heads][-1:]
        above = [d for d in divisors(dim) if d > heads][:1]
        raise spec_error("heads", heads, f"must divide dim={dim}", f"try {alternatives(below + above)}")
    return heads


def resolve_kv_heads(kv_heads: int | Literal["heads"] | None, *, heads: int) -> int:
    """The number of key and value heads: null is the largest proper divisor of `heads`, the word one for each.

    Raises `SpecError` on `kv_heads` where it does not divide `heads`.
    """
    if kv_heads is None:
        return max(divisors(heads)[:-1], default=1)
    if kv_heads == "heads":
        return heads
    if heads % kv_heads:
        remedy = f"try {alternatives(divisors(heads))}"
        raise spec_error("kv_heads", kv_heads, f"must divide heads={heads}", remedy)
    return kv_heads
