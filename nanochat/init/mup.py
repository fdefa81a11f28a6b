"""Maximal update parametrisation, µP: rates tuned on a narrow model serve a wide one (Yang et al., 2203.03466).

With m = dim / base_dim, the weights here start and learn by table 8 of the paper (and its appendix B.1, for Adam):

- embeddings: a standard deviation that does not depend on the width, and the rate η;
- hidden matrices: standard deviation gain/√fan_in, which falls like 1/√m, and the rate η/m under Adam;
- the head: starts at zero (appendix D.2), the rate η, and its logits are divided by m;
- attention scores: divided by the width of a key, not by its root (definition 4.1);
- Adam's eps: divided by m, as the gradients that it is added to are.

Rates, logits, scores and eps follow from `parametrization`, which model, attention and optimizer read. At
dim = base_dim only the zero head and the scores differ from `truncated_normal`. `task=coordinate_check` shows whether
it holds.

Clipping gradients by their norm changes nothing for Adam and its kind. SGD must go without (`grad_clip=null`): the norm
falls like 1/√m, so that a fixed limit lets wide models take larger steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanochat.core.roles import Role
from nanochat.core.spec import Count
from nanochat.init.base import Parametrization
from nanochat.init.truncated_normal import TruncatedNormalSpec, truncated_normal


class MuPSpec(TruncatedNormalSpec):
    """base_dim: the width at which the rates were tuned.

    What lies between matrices of a block must grow with dim, as the widths inside attention and FFN do by their nulls
    (beyond dim 256 by the number of heads). Matrices that do not grow learn slower than they should, their rate being
    divided like the others': those that compress blocks in attention=nsa are such.
    """

    base_dim: Count

    @property
    def untied(self) -> bool:
        """An embedding and a head want different weights, rates and beginnings."""
        return True

    def parametrization(self, dim: int) -> Parametrization:
        return Parametrization(width=dim / self.base_dim, head_power=1.0)

    def draw(self, values: Tensor, *, role: Role, depth: int, generator: torch.Generator) -> None:
        if role == "head":
            values.zero_()
        else:
            fan = self.base_dim if role == "embedding" else values.shape[-1]
            truncated_normal(values, std=self.gain / fan**0.5, cut=self.cut, generator=generator)
