"""Cosine decay (Loshchilov & Hutter, 1608.03983, without restarts)."""

from __future__ import annotations

import math

from nanochat.core.spec import Share
from nanochat.lr.base import LRSpec


class CosineSpec(LRSpec):
    """After the warm-up, half a cosine from the peak to `floor` times the peak."""

    floor: Share

    def factor(self, progress: float) -> float:
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2
