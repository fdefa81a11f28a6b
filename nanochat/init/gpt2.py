"""GPT-2's weights: one small standard deviation, less of it on what is added to the stream (Radford et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nanochat.core.roles import Role
from nanochat.core.spec import Positive
from nanochat.init.base import InitSpec


class GPT2Spec(InitSpec):
    """Normal with standard deviation `std`, whatever the fan-in; residual projections std/√(2·depth) (section 2.3:
    every block adds two branches, whose sum is to start with the variance of one).

    The published weights were drawn with 0.01 for the table of positions (its code); here it counts as an embedding.
    """

    std: Positive

    def draw(self, values: Tensor, *, role: Role, depth: int, generator: torch.Generator) -> None:
        std = self.std / (2 * depth) ** 0.5 if role == "residual" else self.std
        nn.init.normal_(values, std=std, generator=generator)
