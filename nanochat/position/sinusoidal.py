"""Sinusoidal positions: fixed waves, added to the token's embedding (Vaswani et al., 1706.03762, §3.5).

Channels 2i and 2i+1 of position p are sin and cos of p / base^(2i/dim). The paper multiplies embeddings by √dim
before it adds them (§3.4); here the waves are divided by it instead, which is the same sum but for its size.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nanochat.core.geometry import Geometry
from nanochat.core.spec import Positive
from nanochat.position.base import Hook, Position, PositionSpec


class SinusoidalSpec(PositionSpec):
    """base: of the wavelengths, 2π·base^(2i/dim) tokens for channels 2i and 2i+1 · amplitude: of the waves, null is
    1/√dim, the size of an embedding's elements when training starts.
    """

    hook: ClassVar[Hook | None] = "embed"

    base: Positive
    amplitude: Positive | None

    def resolve(self, geometry: Geometry, *, layers: tuple[int, ...]) -> Self:
        return self.replace(amplitude=self.amplitude or geometry.dim**-0.5)

    def build(self, geometry: Geometry) -> Sinusoidal:
        assert self.amplitude, "unresolved"
        waves = sinusoids(geometry.context, geometry.dim, base=self.base)
        return Sinusoidal(self.amplitude * waves)


class Sinusoidal(Position):
    """x + table[position], the table fixed and kept out of checkpoints."""

    table: Float[Tensor, "context dim"]

    def __init__(self, table: Float[Tensor, "context dim"]) -> None:
        super().__init__()
        self.register_buffer("table", table.float(), persistent=False)

    def embed(
        self, x: Float[Tensor, "batch time dim"], *, positions: Int[Tensor, "#batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        return x + self.table[positions].to(x.dtype)


def sinusoids(context: int, dim: int, *, base: float) -> Float[Tensor, "context dim"]:
    """The waves of positions 0 … context - 1, in double precision; the last channel of an odd dim is a sine."""
    position = torch.arange(context, dtype=torch.float64)
    frequency = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.outer(position, frequency)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]
