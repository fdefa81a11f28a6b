"""The contract of an FFN: what is done to each token by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

from jaxtyping import Float
from torch import Tensor, nn

from nanochat.core.geometry import Cost, Geometry
from nanochat.core.spec import Spec


class Aux(NamedTuple):
    """What an FFN says beside its output.

    loss: weighted loss terms, already summed, one value per sequence, None where there are none. Per sequence, so
    that accumulating micro-batches equals the large batch. metrics: detached scalars by name, means over tokens.
    """

    loss: Float[Tensor, " batch"] | None
    metrics: dict[str, Tensor]


class FFNSpec(Spec):
    """Describes an FFN."""

    def check_compile(self, precision: str) -> None:
        """Raises `SpecError` where torch.compile cannot trace it in `precision` (fp32 or bf16)."""

    @abstractmethod
    def resolve(self, geometry: Geometry) -> Self:
        """The same Spec with every null filled; raises `SpecError` for what does not fit `geometry`."""

    @abstractmethod
    def cost(self, geometry: Geometry) -> Cost:
        """What the resolved Spec costs in one block."""

    @abstractmethod
    def build(self, geometry: Geometry) -> FFN:
        """The module of the resolved Spec."""


class FFN(nn.Module, ABC):
    """Maps the residual stream, token by token, and reports losses and metrics of its own."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch time dim"]) -> tuple[Float[Tensor, "batch time dim"], Aux]: ...

    def after_step(self) -> dict[str, Tensor]:
        """Called once after every optimizer step: where a router moves what no gradient moves.

        Returns metrics of the whole batch, all its micro-batches together: scalars, to be averaged over blocks, and
        vectors, of which every element is reported, block by block.
        """
        return {}
