"""Keys and values by head, and what decoding keeps of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


class KeyValue(NamedTuple):
    """Keys (rotated already) and values of all tokens so far."""

    k: Float[Tensor, "batch kv_heads time head_dim"]
    v: Float[Tensor, "batch kv_heads time head_dim"]

    @property
    def length(self) -> int:
        return self.k.shape[2]


def split_heads(x: Float[Tensor, "batch time channels"], width: int) -> Float[Tensor, "batch heads time width"]:
    """Channels cut into heads of `width`."""
    return rearrange(x, "batch time (heads width) -> batch heads time width", width=width)


def merge_heads(x: Float[Tensor, "batch heads time width"]) -> Float[Tensor, "batch time channels"]:
    """The inverse of `split_heads`."""
    return rearrange(x, "batch heads time width -> batch time (heads width)")


def extend(state: KeyValue | None, k: Tensor, v: Tensor) -> KeyValue:
    """The state with the keys and values of new tokens after its own."""
    return KeyValue(k, v) if state is None else KeyValue(torch.cat([state.k, k], 2), torch.cat([state.v, v], 2))
