"""A constant rate after the warm-up."""

from __future__ import annotations

from nanochat.lr.base import LRSpec


class ConstantSpec(LRSpec):
    """The peak, held to the end."""

    def factor(self, progress: float) -> float:
        return 1.0
