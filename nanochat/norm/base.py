"""The contract of a norm."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from nanochat.core.geometry import Cost
from nanochat.core.spec import Spec


class NormSpec(Spec):
    """Describes a module that maps `[..., dim]` to `[..., dim]`."""

    @abstractmethod
    def build(self, dim: int) -> nn.Module:
        """The norm over vectors of width `dim`."""

    @abstractmethod
    def cost(self, dim: int) -> Cost:
        """What one such norm costs."""
