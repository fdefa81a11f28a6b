"""Two pieces of work timed side by side: they take turns, and what counts is the ratio within each turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], Any]


def compare(ours: Work, peer: Work, *, asked: float | None, repeats: int = 15, warmup: int = 2) -> dict[str, Any]:
    """How many times as fast as `peer` our work is: the median over turns of peer's seconds / our seconds, with the
    lowest and highest turn, and the median seconds of both. `asked`: the figure to reach.
    """
    for _ in range(warmup):
        ours()
        peer()
    turns = []
    for turn in range(repeats):
        # Whoever goes second finds the caches warm: take turns in that too.
        order = (ours, peer) if turn % 2 == 0 else (peer, ours)
        times = {work: seconds(work) for work in order}
        turns.append((times[ours], times[peer]))
    ratios = sorted(theirs / own for own, theirs in turns)
    return {
        "ratio": round(statistics.median(ratios), 2),
        "low": round(ratios[0], 2),
        "high": round(ratios[-1], 2),
        "asked": asked,
        "ours_s": round(statistics.median(own for own, _ in turns), 4),
        "peer_s": round(statistics.median(theirs for _, theirs in turns), 4),
    }


def seconds(work: Work) -> float:
    """How long one call takes, until the device is done with it."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
