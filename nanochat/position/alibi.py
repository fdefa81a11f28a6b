"""ALiBi: every head lowers its scores in proportion to the distance of the key (Press et al., 2108.12409, §3).

Head i of H subtracts slope_i · distance, slope_i = 2^(-8i/H) for i = 1 … H. It has no parameters and no longest
position: the paper trains on short sequences and reads longer ones.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from nanochat.core.geometry import Geometry
from nanochat.position.base import Hook, Position, PositionSpec


class AlibiSpec(PositionSpec):
    """Has no fields: the slopes follow from the number of heads."""

    hook: ClassVar[Hook | None] = "bias"

    def build(self, geometry: Geometry) -> Alibi:
        return Alibi()


class Alibi(Position):
    """Adds -slope · (query - key) to a score; it is positive on keys after the query, which no attention here sees."""

    def bias(self, q_len: int, k_len: int, *, heads: int, device: torch.device) -> Float[Tensor, "heads query key"]:
        query = torch.arange(k_len - q_len, k_len, device=device)
        key = torch.arange(k_len, device=device)
        slope = torch.tensor(slopes(heads), device=device)
        return -slope[:, None, None] * (query[:, None] - key)


def slopes(heads: int) -> list[float]:
    """A geometric sequence from 2^(-8/heads) to 2^-8, where `heads` is a power of two.

    Elsewhere, as in the authors' released code: the slopes of the power of two below it, then every second one of
    those for twice as many heads, which lie between them.
    """
    power = 1 << (heads.bit_length() - 1)
    own = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    between = [2 ** (-8 * i / (2 * power)) for i in range(1, 2 * power + 1, 2)]
    return own + between[: heads - power]
