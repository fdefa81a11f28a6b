"""Learning rate and batch by compute, as DeepSeek found them (2401.02954, eq. 1) with AdamW on its data."""

from __future__ import annotations

SOURCE = "DeepSeek, 2401.02954, eq. 1"


def learning_rate(c: float) -> float:
    """The best peak rate of a run of `c` FLOPs."""
    return 0.3118 * c**-0.1250


def batch_tokens(c: float) -> float:
    """The best tokens in one optimizer step."""
    return 0.2920 * c**0.3271
