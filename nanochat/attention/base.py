"""The contract of an attention: how tokens read earlier tokens, and what decoding must keep of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.core.errors import Problem
from nanochat.core.geometry import Cost, Geometry
from nanochat.core.roles import Role
from nanochat.core.spec import Spec, option_of
from nanochat.position.base import Hook, Position, PositionSpec


class State(Protocol):
    """What decoding keeps of all tokens so far: a NamedTuple of tensors that knows how many tokens it holds."""

    @property
    def length(self) -> int: ...


StateT = TypeVar("StateT", bound=State)


class AttentionSpec(Spec):
    """Describes an attention.

    hooks: the position hooks that it supports · ignores: hooks that it has no use for, since it knows order by
    itself (where no layer has a use for a scheme, the run's position resolves to none); what is in neither is
    refused · rotated: the field that holds the width of the vectors it hands to `rotate`, None where it never does.
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset()
    ignores: ClassVar[frozenset[Hook]] = frozenset()
    rotated: ClassVar[str | None] = None

    def uses(self, position: PositionSpec) -> bool:
        """Whether any layer makes use of this position scheme."""
        return position.hook is not None and position.hook not in self.ignores

    def misfits(self, position: PositionSpec) -> list[Problem]:
        """Why the scheme cannot serve this resolved attention, under keys relative to it; empty where it can."""
        if not self.uses(position):
            return []
        if position.hook not in self.hooks:
            rule = f"does not support the hook '{position.hook}', through which position={option_of(position)} works"
            have = ", ".join(sorted(self.hooks)) or "no hook"
            return [Problem(key="", value=option_of(self), rule=rule, remedy=f"it supports {have}")]
        width = getattr(self, self.rotated) if position.hook == "rotate" and self.rotated else None
        multiple = position.width_multiple
        if width is None or width % multiple == 0:
            return []
        below = width - width % multiple
        remedy = f"try {below} or {below + multiple}" if below else f"try {multiple}"
        rule = f"must be a multiple of {multiple}, which position={option_of(position)} rotates"
        return [Problem(key=str(self.rotated), value=width, rule=rule, remedy=remedy)]

    def value_width(self, geometry: Geometry) -> int | None:
        """Channels of the values that it makes for one token in block `geometry.layer`, to which a value embedding
        can be added (`model.value_embeddings`); None where it takes none."""
        return None

    def in_block(self, layer: int) -> AttentionSpec:
        """What block `layer` has: the Spec itself, but for one that is a pattern over several."""
        return self

    def check_device(self, device: str) -> None:
        """Raises `SpecError` where the kernel chosen cannot train on `device` (cpu or cuda)."""

    @abstractmethod
    def resolve(self, geometry: Geometry) -> Self:
        """The same Spec with every null filled; raises `SpecError` for what does not fit `geometry`."""

    @abstractmethod
    def cost(self, geometry: Geometry) -> Cost:
        """What the resolved Spec costs in one block, over sequences of `geometry.context` tokens."""

    @abstractmethod
    def build(self, geometry: Geometry, *, position: Position) -> Attention[Any]:
        """The module of the resolved Spec."""


class Attention(nn.Module, ABC, Generic[StateT]):
    """Maps the residual stream, each token seeing itself and earlier tokens alone."""

    roles: Mapping[str, Role] = MappingProxyType({"o_proj.weight": "residual"})

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: StateT | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], StateT]:
        """Attend.

        state: what an earlier call returned, where `x` continues its tokens; None where the sequence starts here.
        docs: the document of each token, which attention never crosses; not together with a state.
        values: what is added to the values of each token, where the Spec's `value_width` says that it may be.
        Returns the output and the state of all tokens so far.
        """
