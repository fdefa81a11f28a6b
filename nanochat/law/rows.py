"""The rows that a law was fitted to, with what it predicts of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanochat.law.asked import Asked
from nanochat.law.isoflop import FEWEST_SIZES, SPREAD, TOLERANCE, budgets
from nanochat.law.plain import plain
from nanochat.law.table import Points


def rows(asked: Asked) -> list[dict[str, Any]]:
    """Each with its residual of the log of the loss, and the number of its level of compute."""
    points, form = asked.points, asked.form
    predicted = np.asarray(asked.law.loss(*(asked.inputs[name] for name in form.inputs)))
    own = [name for name in form.inputs if name in points.inputs]
    columns: dict[str, Any] = {
        "n": points.n, "d": points.d, "c": points.c, "loss": points.loss, **{name: points.inputs[name] for name in own},
        "cluster": np.array(points.clusters), "predicted": predicted, "residual": np.log(points.loss / predicted),
        "level": _levels(points),
    }  # fmt: skip
    lists = {name: plain(np.asarray(column)) if name != "level" else column for name, column in columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _levels(points: Points) -> list[int | None]:
    """The number of each row's level of compute; None where its compute is no level, of several sizes."""
    found: list[int | None] = [None] * len(points.loss)
    if not np.isfinite(points.c).all():
        return found
    number = 0
    for group in budgets(points.c):
        own = np.flatnonzero(group)
        several = len(set(points.n[own].tolist())) >= FEWEST_SIZES
        if several and np.ptp(np.log(points.c[own])) <= SPREAD * TOLERANCE:
            for row in own:
                found[row] = number
            number += 1
    return found
