"""Rotary positions (RoFormer, 2104.09864, eq. 34): pairs of channels turn by an angle that grows with position.

The dot product of a rotated query and a rotated key depends on their distance alone, so packed documents need
no positions of their own.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from nanochat.core.errors import alternatives, spec_error
from nanochat.core.geometry import Geometry
from nanochat.core.spec import Count, Positive
from nanochat.position.base import Hook, Position, PositionSpec


class RopeSpec(PositionSpec):
    """theta: base of the wavelengths, 2π·theta^(2i/width) tokens for pair i.

    interleaved: whether pair i is channels (2i, 2i+1) as in DeepSeek's models, or (i, i + width/2) as in Llama's.
    The two differ by a fixed permutation of channels, which trained weights have absorbed.
    nope_every: every such block rotates nothing (block l where l + 1 is a multiple), as in RNoPE (Yang et al.,
    2501.18795) and SmolLM3; null is none.
    """

    hook: ClassVar[Hook | None] = "rotate"
    width_multiple: ClassVar[int] = 2

    theta: Positive
    interleaved: bool
    nope_every: Count | None

    def resolve(self, geometry: Geometry, *, layers: tuple[int, ...]) -> Self:
        """Refuses a `nope_every` under which every block that could rotates, or none."""
        n = self.nope_every
        if n is None or 0 < _plain(layers, n) < len(layers):
            return self
        if _plain(layers, n):
            rule, remedy = "leaves no block that rotates", "use position=none"
        else:
            rule, remedy = f"leaves none of the {geometry.depth} blocks without rotation", "use null"
        fitting = [other for other in range(2, geometry.depth + 1) if 0 < _plain(layers, other) < len(layers)]
        raise spec_error("nope_every", n, rule, f"{remedy} or try {alternatives(fitting)}" if fitting else remedy)

    def build(self, geometry: Geometry) -> Position:
        if self.nope_every is not None and _plain((geometry.layer,), self.nope_every):
            return Position()
        return Rope(theta=self.theta, interleaved=self.interleaved)


class Rope(Position):
    """Rotates whatever width it is handed: the attention decides which channels carry position."""

    def __init__(self, *, theta: float, interleaved: bool) -> None:
        super().__init__()
        self.theta = theta
        self.interleaved = interleaved

    def rotate(
        self, q: Float[Tensor, "*q_heads time width"], k: Float[Tensor, "*k_heads time width"], *, offset: int
    ) -> tuple[Float[Tensor, "*q_heads time width"], Float[Tensor, "*k_heads time width"]]:
        time, width = q.shape[-2:]
        angle = angles(time, width, theta=self.theta, offset=offset, device=q.device)
        cos, sin = angle.cos().to(q.dtype), angle.sin().to(q.dtype)
        turn = _turn_interleaved if self.interleaved else _turn_halves
        return turn(q, cos, sin), turn(k, cos, sin)


def _plain(layers: tuple[int, ...], nope_every: int) -> int:
    """How many of these blocks rotate nothing."""
    return sum((layer + 1) % nope_every == 0 for layer in layers)


def angles(time: int, width: int, *, theta: float, offset: int, device: torch.device) -> Float[Tensor, "time half"]:
    """Angle in radians of each pair at positions `offset` … `offset + time - 1`, in fp32 whatever the model's type."""
    assert width % 2 == 0, width
    # Not kept in a buffer: the table costs less than a hundredth of the attention that uses it.
    frequency = theta ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    position = torch.arange(offset, offset + time, device=device, dtype=torch.float32)
    return torch.outer(position, frequency)


def naive(
    x: Float[Tensor, "*heads time width"], *, theta: float, offset: int, interleaved: bool
) -> Float[Tensor, "*heads time width"]:
    """The definition: pairs as complex numbers, multiplied by exp(i·angle)."""
    pairs: Complex[Tensor, "*heads time half"]
    if interleaved:
        pairs = torch.complex(x[..., 0::2], x[..., 1::2])
    else:
        pairs = torch.complex(*x.chunk(2, dim=-1))
    angle = angles(x.shape[-2], x.shape[-1], theta=theta, offset=offset, device=x.device)
    turned = torch.view_as_real(pairs * torch.exp(1j * angle))
    return turned.flatten(-2) if interleaved else torch.cat([turned[..., 0], turned[..., 1]], dim=-1)


# (a, b) becomes (a·cos - b·sin, b·cos + a·sin): as x·cos + (b, a)·(-sin, sin), over whole heads at once. Half heads
# are short rows of memory, and twice as slow on a CPU.


def _turn_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.addcmul(x * torch.cat([cos, cos], -1), torch.cat([b, a], -1), torch.cat([-sin, sin], -1))


def _turn_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    signed = torch.stack([-sin, sin], -1).flatten(-2)
    return torch.addcmul(x * cos.repeat_interleave(2, -1), swapped, signed)
