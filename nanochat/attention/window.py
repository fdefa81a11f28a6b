"""Sliding windows (Longformer, 2004.05150, section 3.1; Mistral, 2310.06825, section 2): who is seen, what is kept."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nanochat.attention.keyvalue import KeyValue
from nanochat.attention.masked import Mask
from nanochat.core.errors import spec_error


def windowed(window: int | None) -> Mask:
    """The last `window` keys, the token's own included; None is plain causal attention."""
    # Plain lambdas, which flex compiles: it cannot look into functions whose arguments tests check.
    if window is None:
        return lambda query, key, head: key <= query
    return lambda query, key, head: (key <= query) & (query - key < window)


def pairs(*, context: int, window: int | None) -> float:
    """Mean number of keys that a query sees over a full context T: [w(w+1)/2 + (T−w)w]/T."""
    width = min(window or context, context)
    return (width * (width + 1) / 2 + (context - width) * width) / context


def resolve_window(window: int | Literal["auto"] | None, *, context: int) -> int | None:
    """`auto` is a quarter of the context; raises `SpecError` on `window` where it is wider than the context."""
    if window == "auto":
        return max(1, context // 4)
    if window is not None and window > context:
        remedy = f"try {context // 4 or 1}, or null for no window"
        raise spec_error("window", window, f"must be at most context={context}", remedy)
    return window


class Recent(NamedTuple):
    """Keys and values of the last tokens, as many as the next one can see. `length` counts all tokens so far."""

    k: Float[Tensor, "batch kv_heads kept head_dim"]
    v: Float[Tensor, "batch kv_heads kept head_dim"]
    length: int


def kept(*, context: int, window: int | None) -> int:
    """How many tokens decoding keeps of `context`: the next one sees itself and window − 1 before it."""
    return context if window is None else min(context, window - 1)


def behind(
    state: KeyValue | Recent | None,
    k: Float[Tensor, "batch kv_heads time head_dim"],
    v: Float[Tensor, "batch kv_heads time head_dim"],
) -> tuple[Float[Tensor, "batch kv_heads key head_dim"], Float[Tensor, "batch kv_heads key head_dim"]]:
    """Keys and values of new tokens, behind those that the state kept."""
    return (k, v) if state is None else (torch.cat([state.k, k], dim=2), torch.cat([state.v, v], dim=2))


def remember(
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    length: int,
    window: int | None,
) -> KeyValue | Recent:
    """The state after `length` tokens, k and v being those of the last of them."""
    if window is None:
        return KeyValue(k, v)
    first = max(0, k.shape[2] - (window - 1))
    return Recent(k[:, :, first:], v[:, :, first:], length)
