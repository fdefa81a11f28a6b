"""Learned positions: a vector for every position, added to the token's embedding (GPT, Radford et al., 2018).

The table has a row for each position of the training context: what is longer has no position.
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.position.base import Hook, Position, PositionSpec


class LearnedSpec(PositionSpec):
    """Has no fields: the table is context × dim, and starts as `init` starts embeddings."""

    hook: ClassVar[Hook | None] = "embed"

    def build(self, geometry: Geometry) -> Learned:
        return Learned(context=geometry.context, dim=geometry.dim)

    def cost(self, geometry: Geometry) -> Cost:
        """context·dim parameters, once for the whole model; looking them up costs no FLOPs."""
        table = geometry.context * geometry.dim
        return dense_cost(table, lookups=table)


class Learned(Position):
    """x + table[position]."""

    def __init__(self, *, context: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(context, dim)

    def embed(
        self, x: Float[Tensor, "batch time dim"], *, positions: Int[Tensor, "#batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        return x + self.table(positions)
