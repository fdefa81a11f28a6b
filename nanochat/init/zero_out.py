"""Zero-initialised output projections: every block starts as the identity (Zhang et al., Fixup, 1901.09321)."""

from __future__ import annotations

import torch
from torch import Tensor

from nanochat.core.roles import Role
from nanochat.init.truncated_normal import TruncatedNormalSpec


class ZeroOutSpec(TruncatedNormalSpec):
    """As `truncated_normal`, but residual projections start at zero, as in the speed-run records of modded-nanogpt.

    head: whether the head starts at zero as well, so that the first prediction is uniform.

    It needs a head of its own: through blocks that are the identity a tied head sees nothing but the token itself, and
    predicts its repetition by a logit of about √dim (measured at dim 64: 7.9 nats where knowing nothing costs 4.1).

    The first update reaches the projections alone (with `head`, the head alone): the weights before them have no
    gradient until these have moved.
    """

    head: bool

    @property
    def untied(self) -> bool:
        return True

    def draw(self, values: Tensor, *, role: Role, depth: int, generator: torch.Generator) -> None:
        if role == "residual" or (role == "head" and self.head):
            values.zero_()
        else:
            super().draw(values, role=role, depth=depth, generator=generator)
