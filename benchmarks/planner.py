"""Plans of runs under a budget of FLOPs, in 150 worlds of known laws: regret and error of loss at the target.

A regret is L(chosen shape) / L(best shape) − 1 at five times the whole budget; see tests/law/planners.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.law.planners import Answer, World, fitted_grid, grid, sequential, world

WORLDS = 150

PLANNERS: dict[str, Callable[[World], Answer]] = {
    "grid_parabola": partial(grid, method="parabola"),
    "grid_akima": partial(grid, method="akima"),
    "grid_fitted": fitted_grid,
    "sequential": sequential,
    "sequential_per_cost": partial(sequential, thrift=1.0),
}


def measure() -> dict[str, Any]:
    """Per cent, over worlds: the regret's median and 90th percentile, the loss error's median; and the mean number of
    runs."""
    figures: dict[str, Any] = {"worlds": WORLDS}
    for name, planner in PLANNERS.items():
        answers = [planner(world(seed)) for seed in range(WORLDS)]
        regrets = [100 * answer.regret for answer in answers]
        errors = [100 * answer.loss for answer in answers if answer.loss is not None]
        figures[f"{name}_regret_median_pct"] = round(float(np.median(regrets)), 4)
        figures[f"{name}_regret_p90_pct"] = round(float(np.quantile(regrets, 0.9)), 4)
        if errors:
            figures[f"{name}_loss_error_median_pct"] = round(float(np.median(errors)), 3)
        figures[f"{name}_runs"] = round(float(np.mean([answer.runs for answer in answers])), 1)
    return figures
