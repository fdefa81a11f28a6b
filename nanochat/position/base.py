"""The contract of a position scheme: three hooks, each the identity unless a scheme fills it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.core.geometry import Cost, Geometry
from nanochat.core.spec import Spec

Hook = Literal["embed", "rotate", "bias"]


class PositionSpec(Spec):
    """Describes how a model knows where a token stands.

    hook: the one hook that the scheme fills, None where it fills none; an attention refuses hooks that it lacks.
    width_multiple: what the width of the vectors handed to `rotate` must be a multiple of.
    """

    hook: ClassVar[Hook | None] = None
    width_multiple: ClassVar[int] = 1

    def resolve(self, geometry: Geometry, *, layers: tuple[int, ...]) -> Self:
        """The same Spec with every null filled; raises `SpecError` for what does not fit `geometry`.

        layers: the blocks whose attention has a use for it.
        """
        return self

    def build(self, geometry: Geometry) -> Position:
        """The scheme for one place: the model's input for `embed`, one block for `rotate` and `bias`."""
        return Position()

    def cost(self, geometry: Geometry) -> Cost:
        """What it costs in one such place."""
        return Cost()


class Position(nn.Module):
    """All hooks, all the identity: by itself it is what `position=none` builds."""

    def embed(
        self, x: Float[Tensor, "batch time dim"], *, positions: Int[Tensor, "#batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """Token embeddings with their positions mixed in; `positions` count from each document's start."""
        return x

    def rotate(
        self, q: Float[Tensor, "*q_heads time width"], k: Float[Tensor, "*k_heads time width"], *, offset: int
    ) -> tuple[Float[Tensor, "*q_heads time width"], Float[Tensor, "*k_heads time width"]]:
        """Queries and keys of the tokens `offset`, `offset + 1`, … as they enter the dot product."""
        return q, k

    def bias(
        self, q_len: int, k_len: int, *, heads: int, device: torch.device
    ) -> Float[Tensor, "heads query key"] | None:
        """What is added to the scores of the last `q_len` of `k_len` tokens, in fp32; None adds nothing.

        It depends on the distance between query and key alone, so packed documents need no bias of their own.
        """
        return None
