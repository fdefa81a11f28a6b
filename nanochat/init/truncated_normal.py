"""Truncated normal: every output starts with the variance of its input, and no weight is an outlier."""

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
        std = self.gain / values.shape[-1] ** 0.5
        nn.init.trunc_normal_(values, std=std, a=-self.cut * std, b=self.cut * std, generator=generator)
