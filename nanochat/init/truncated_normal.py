"""Truncated normal: outputs start with the variance of inputs (LeCun et al., 1998), and no weight is an outlier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nanochat.core.roles import Role
from nanochat.core.spec import Positive
from nanochat.init.base import InitSpec


class TruncatedNormalSpec(InitSpec):
    """Standard deviation `gain`/√fan_in (LeCun et al., 1998, eq. 16), redrawn beyond `cut` standard deviations.

    fan_in is the last dimension of a weight: the inputs of a projection, the width of an embedding.
    """

    gain: Positive
    cut: Positive

    def draw(self, values: Tensor, *, role: Role, depth: int, generator: torch.Generator) -> None:
        truncated_normal(values, std=self.gain / values.shape[-1] ** 0.5, cut=self.cut, generator=generator)


def truncated_normal(values: Tensor, *, std: float, cut: float, generator: torch.Generator) -> None:
    """Fill in place from a normal distribution of standard deviation `std`, redrawn beyond `cut` of them."""
    nn.init.trunc_normal_(values, std=std, a=-cut * std, b=cut * std, generator=generator)
