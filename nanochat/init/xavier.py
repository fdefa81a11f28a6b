"""Xavier: a compromise between keeping variances on the way forward and on the way back (Glorot & Bengio, 2010)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nanochat.core.roles import Role
from nanochat.core.spec import Positive
from nanochat.init.base import InitSpec


class XavierSpec(InitSpec):
    """Variance gain² · 2/(fan_in + fan_out) (eqs. 12 and 16), of a normal or a uniform distribution.

    fan_in and fan_out are the last two dimensions, so that stacked experts start as each one alone would. An
    embedding multiplies nothing, and the rule says nothing about it: a row of width dim starts with variance
    gain²/dim, so that what is looked up is as long as in the other options, and a tied head starts at moderate logits.
    """

    gain: Positive
    distribution: Literal["normal", "uniform"]

    def draw(self, values: Tensor, *, role: Role, depth: int, generator: torch.Generator) -> None:
        fan_out, fan_in = values.shape[-2:]
        mean_fan = fan_in if role == "embedding" else (fan_in + fan_out) / 2
        std = self.gain / mean_fan**0.5
        if self.distribution == "normal":
            nn.init.normal_(values, std=std, generator=generator)
        else:
            bound = 3**0.5 * std
            nn.init.uniform_(values, -bound, bound, generator=generator)
