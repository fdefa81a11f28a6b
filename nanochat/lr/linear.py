"""Linear decay to a floor (as in Defazio et al., 2310.07831, where it outdoes the cosine)."""

from __future__ import annotations

from nanochat.core.spec import Share
from nanochat.lr.base import LRSpec


class LinearSpec(LRSpec):
    """After the warm-up, a straight line from the peak to `floor` times the peak."""

    floor: Share

    def factor(self, progress: float) -> float:
        return self.floor + (1 - self.floor) * (1 - progress)
