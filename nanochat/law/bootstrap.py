"""How sure a law is: the same fit on rows drawn again, and on all but the largest budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from nanochat.core.progress import track
from nanochat.law.fit import Fit, fit, refit
from nanochat.law.hoffmann import Array, Hoffmann

# Held out: what took more than a third of the largest compute.
HELD_OUT = 1 / 3


@dataclass(frozen=True)
class HeldOut:
    """rows: how many were predicted · ratio: their largest compute over the largest that was fitted · error: mean of
    |L̂ − L| / L."""

    rows: int
    ratio: float
    error: float


def resampled(
    n: Array, d: Array, loss: Array, *, clusters: Sequence[object], near: Hoffmann, count: int, seed: int
) -> list[Hoffmann]:
    """Laws of `count` tables of clusters drawn with replacement: rows of one run stay together."""
    names = list(dict.fromkeys(clusters))
    rows = [np.array([i for i, name in enumerate(clusters) if name == own]) for own in names]
    generator = np.random.default_rng(seed)
    draws = (generator.integers(len(names), size=len(names)) for _ in range(count))
    tables = (np.concatenate([rows[i] for i in draw]) for draw in draws)
    refits = (refit(n[table], d[table], loss[table], near=near) for table in tables)
    return list(track(refits, total=count, label="resampling the rows"))


def interval(
    laws: Sequence[Hoffmann], value: Callable[[Hoffmann], float], *, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of a quantity over resampled laws."""
    found: ndarray = np.array([value(law) for law in laws])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def held_out(n: Array, d: Array, loss: Array, *, enough: Callable[[ndarray], bool]) -> HeldOut | None:
    """The error at the largest budgets of a law fitted without them; None where too little is left to fit."""
    compute = 6 * n * d
    kept = compute <= HELD_OUT * np.max(compute)
    if kept.all() or not enough(kept):
        return None
    found: Fit = fit(n[kept], d[kept], loss[kept])
    error = np.abs(found.law.loss(n[~kept], d[~kept]) - loss[~kept]) / loss[~kept]
    return HeldOut(int((~kept).sum()), float(np.max(compute) / np.max(compute[kept])), float(np.mean(error)))
