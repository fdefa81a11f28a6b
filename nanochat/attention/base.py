"""The contract of an attention: how tokens read earlier tokens, and what decoding must keep of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.core.geometry import Cost, Geometry
from nanochat.core.spec import Spec
from nanochat.position.base import Hook, Position


class State(Protocol):
    """What decoding keeps of all tokens so far: a NamedTuple of tensors that knows how many tokens it holds."""

    @property
    def length(self) -> int: ...


StateT = TypeVar("StateT", bound=State)


class AttentionSpec(Spec):
    """Describes an attention.

    hooks: the position hooks that it supports; other schemes are refused. rotated: the field that holds the
    width of the vectors it hands to `rotate`, None where it never does.
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset()
    rotated: ClassVar[str | None] = None

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

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: StateT | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], StateT]:
        """Attend.

        state: what an earlier call returned, where `x` continues its tokens; None where the sequence starts here.
        docs: the document of each token, which attention never crosses; not together with a state.
        Returns the output and the state of all tokens so far.
        """
