"""The contract of a norm."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from torch import nn

from nanochat.core.geometry import Cost
from nanochat.core.spec import Spec


class NormSpec(Spec):
    """Describes a module that maps `[..., dim]` to `[..., dim]`, and where a model has one.

    placement: around each branch f of a block, pre is x + f(norm(x)) (Xiong et al., 2002.04745), post norm(x + f(x))
    (Vaswani et al., 1706.03762), sandwich x + norm(f(norm(x))) (Gemma 2, 2408.00118) · final: whether the head reads
    the stream through one more.
    """

    placement: Literal["pre", "post", "sandwich"]
    final: bool

    @abstractmethod
    def build(self, dim: int) -> nn.Module:
        """The norm over vectors of width `dim`."""

    @abstractmethod
    def cost(self, dim: int) -> Cost:
        """What one such norm costs."""
