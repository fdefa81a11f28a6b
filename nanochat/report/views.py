"""The same comparison at equal tokens, equal FLOPs and equal seconds: read on valid curves, shown, never judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nanochat.report.frame import Frame
from nanochat.report.notebook import Columns
from nanochat.stats.paired import Difference, difference
from nanochat.stats.standing import leader
from nanochat.study import table

BUDGETS = {"tokens": "training tokens", "flops": "training FLOPs", "seconds": "seconds of training"}


@dataclass(frozen=True, kw_only=True)
class View:
    """Valid bits per byte at one budget that every run reached: the mean of each arm, and its difference to the lowest
    (None for that one), with an interval for that comparison alone."""

    scale: str
    budget: str
    at: float
    means: Mapping[str, float]
    differences: Mapping[str, Difference | None]


def views(frame: Frame) -> list[View]:
    """One for each scale and budget where at least two arms have curves."""
    found = [_view(frame, scale, budget) for scale in frame.scales for budget in BUDGETS]
    return [view for view in found if view is not None]


def along(row: table.Row, curve: Columns, budget: str) -> tuple[np.ndarray, np.ndarray]:
    """A run's spending at each validation, and its valid bits per byte there."""
    here = np.isfinite(curve["valid_bpb"])
    return spent(row, curve, budget)[here], curve["valid_bpb"][here]


def spent(row: table.Row, curve: Columns, budget: str) -> np.ndarray:
    """What a run had spent at each row of its curve. FLOPs are the same for every token."""
    if budget == "flops":
        return curve["tokens"] * (row["flops"] / row["tokens"])
    return curve[budget]


def at_budget(row: table.Row, curve: Columns, budget: str, at: float) -> float:
    """Valid bits per byte at `at`, linear in the logarithm between two validations."""
    x, y = along(row, curve, budget)
    return float(np.interp(np.log(at), np.log(np.maximum(x, 1e-9)), y))


def _view(frame: Frame, scale: str, budget: str) -> View | None:
    arms = [arm.name for arm in frame.definition.arms if arm.scale == scale]
    runs = {arm: [row for row in frame.confirming(arm) if row["key"] in frame.curves] for arm in arms}
    reached = [along(row, frame.curves[row["key"]], budget)[0] for rows in runs.values() for row in rows]
    if sum(map(bool, runs.values())) < 2 or not all(len(x) for x in reached):
        return None
    at = min(float(x[-1]) for x in reached)
    scores = np.array([_scores(frame, runs[arm], budget, at) for arm in arms])
    return _compared(scores, arms, scale=scale, budget=budget, at=at)


def _scores(frame: Frame, rows: Sequence[table.Row], budget: str, at: float) -> list[float]:
    by_seed = {row["seed"]: at_budget(row, frame.curves[row["key"]], budget, at) for row in rows}
    return [by_seed.get(seed, np.nan) for seed in frame.definition.seeds]


def _compared(scores: np.ndarray, arms: Sequence[str], *, scale: str, budget: str, at: float) -> View:
    first = leader(scores)
    assert first is not None
    there = [i for i in range(len(arms)) if np.isfinite(scores[i]).any()]
    return View(
        scale=scale,
        budget=budget,
        at=at,
        means={arms[i]: float(np.nanmean(scores[i])) for i in there},
        differences={
            arms[i]: difference(scores[i], scores[first])
            if i != first and np.isfinite(scores[i] - scores[first]).any()
            else None
            for i in there
        },
    )
