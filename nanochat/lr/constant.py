"""A constant rate after the warm-up: the stable part of warm-up, stable, decay (Hägele et al., 2405.18392)."""

from __future__ import annotations

from nanochat.lr.base import LRSpec


class ConstantSpec(LRSpec):
    """The peak, held to the end."""

    def decay_begins(self, steps: int) -> int | None:
        return steps

    def factor(self, progress: float) -> float:
        return 1.0
