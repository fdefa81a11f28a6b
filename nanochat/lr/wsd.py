"""Warm-up, stable, decay: constant, then down by 1 - √ over the last steps (Hägele et al., 2405.18392, section 3).

The constant part is the same whatever the length of the run, so that runs of several lengths can share it
(`start.run`), if their warm-up is one in steps.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nanochat.core.spec import Share
from nanochat.lr.base import LRSpec

ROUNDING = 1e-9
"""Of steps: (1 - 0.9)·10 is a little less than one."""


class WSDSpec(LRSpec):
    """decay: share of what follows the warm-up in which the rate falls · floor: what it falls to, as a share of the
    peak: at t of the decay it is floor + (1 - floor)·(1 - √t) of the peak.
    """

    decay: Annotated[float, Field(gt=0, le=1)]
    floor: Share

    def decay_begins(self, steps: int) -> int | None:
        warmup = self.warmup_steps(steps)
        stable = int((1 - self.decay) * (steps - warmup) + ROUNDING)
        return warmup + stable if stable > 0 else None

    def factor(self, progress: float) -> float:
        into = max(0.0, progress - (1 - self.decay)) / self.decay
        return self.floor + (1 - self.floor) * (1 - into**0.5)
