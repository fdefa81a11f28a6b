"""Bottleneck attention: tokens are projected to fewer channels, attend there, and are projected back.

Our own definition: y = U·attend(D·x), with D from dim to bottleneck_dim channels, U back, and any attention between
them, which is built for a residual stream of bottleneck_dim channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec, State
from nanochat.core.errors import Problem, SpecError, spec_error
from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.core.roles import Role, roles
from nanochat.core.spec import Count
from nanochat.position.base import Position, PositionSpec


class BottleneckSpec(AttentionSpec):
    """bottleneck_dim: channels inside, fewer than dim; null is dim // 2 · inner: the attention there, its own nulls
    following from bottleneck_dim in place of dim.
    """

    bottleneck_dim: Count | None
    inner: AttentionSpec

    def uses(self, position: PositionSpec) -> bool:
        return self.inner.uses(position)

    def misfits(self, position: PositionSpec) -> list[Problem]:
        return list(SpecError(self.inner.misfits(position)).under("inner").problems)

    def value_width(self, geometry: Geometry) -> int | None:
        return self.inner.value_width(self._inside(geometry))

    def in_block(self, layer: int) -> AttentionSpec:
        return self.replace(inner=self.inner.in_block(layer))

    def check_device(self, device: str) -> None:
        try:
            self.inner.check_device(device)
        except SpecError as error:
            raise error.under("inner") from error

    def resolve(self, geometry: Geometry) -> Self:
        width = self.bottleneck_dim or max(1, geometry.dim // 2)
        if width >= geometry.dim:
            rule = f"must be less than dim={geometry.dim}"
            raise spec_error("bottleneck_dim", width, rule, f"try {max(1, geometry.dim // 2)}")
        spec = self.replace(bottleneck_dim=width)
        try:
            return spec.replace(inner=self.inner.resolve(spec._inside(geometry)))
        except SpecError as error:
            raise error.under("inner") from error

    def cost(self, geometry: Geometry) -> Cost:
        """2·dim·bottleneck_dim weights, 6 FLOPs a token for each, and what the inner attention costs at a width of
        bottleneck_dim; its state is all that is kept."""
        inside = self._inside(geometry)
        return dense_cost(2 * geometry.dim * inside.dim) + self.inner.cost(inside)

    def build(self, geometry: Geometry, *, position: Position) -> Bottleneck:
        inside = self._inside(geometry)
        return Bottleneck(self.inner.build(inside, position=position), dim=geometry.dim, width=inside.dim)

    def _inside(self, geometry: Geometry) -> Geometry:
        """What the inner attention is told."""
        assert self.bottleneck_dim, "unresolved"
        return replace(geometry, dim=self.bottleneck_dim)


class Bottleneck(Attention[State]):
    """`down`, the inner attention, `up`."""

    def __init__(self, inner: Attention[Any], *, dim: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width, bias=False)
        self.inner = inner
        self.up = nn.Linear(width, dim, bias=False)
        # Of the two output projections only the outer one writes to the residual stream.
        said: dict[str, Role] = {"up.weight": "residual"}
        for name, role in roles(inner).items():
            if role == "residual":
                said[f"inner.{name}"] = "hidden"
        self.roles = said

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: State | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], State]:
        more = {} if values is None else {"values": values}
        y, kept = self.inner(self.down(x), state=state, docs=docs, **more)
        return self.up(y), kept
