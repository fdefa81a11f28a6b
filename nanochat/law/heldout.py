"""How far a law can be trusted beyond what it was fitted to: its error on budgets larger than it has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.fit import Options, fit
from nanochat.law.form import Array, Law

# Runs of one budget differ a little in their compute.
ONE_BUDGET = 0.9


@dataclass(frozen=True)
class HeldOut:
    """ratio: the largest compute over the largest that was fitted · rows: how many were predicted · error: mean of
    |L̂ − L| / L · bias: mean of (L̂ − L) / L."""

    ratio: float
    rows: int
    error: float
    bias: float


def held_out(
    form: type[Law],
    inputs: Mapping[str, Array],
    y: Array,
    *,
    compute: Array,
    enough: Callable[[ndarray], bool] = lambda kept: True,
    options: Options | None = None,
) -> list[HeldOut]:
    """Fits without the largest budget, the two largest, and so on, while `enough` of the rows (told as a mask) and
    more of them than the form has numbers are left. By ratio, nearest first."""
    options = options or Options()
    found = []
    for budget in budgets(compute)[:-1]:
        kept = compute < ONE_BUDGET * budget
        if kept.sum() <= len(form.names()) or not enough(kept):
            break
        weights = None if options.weights is None else options.weights[kept]
        law = fit(
            form,
            {name: inputs[name][kept] for name in form.inputs},
            y[kept],
            options=replace(options, weights=weights),
        ).law
        off = np.asarray(law.loss(*(inputs[name][~kept] for name in form.inputs))) / y[~kept] - 1
        found.append(
            HeldOut(
                ratio=float(np.max(compute) / np.max(compute[kept])),
                rows=int((~kept).sum()),
                error=float(np.mean(np.abs(off))),
                bias=float(np.mean(off)),
            )
        )
    return found


def budgets(compute: Array) -> list[float]:
    """The distinct budgets, the largest first; each is told by its largest run."""
    found: list[float] = []
    rows: Float[ndarray, "runs"] = np.sort(compute)[::-1]
    for value in rows:
        if not found or value < ONE_BUDGET * found[-1]:
            found.append(float(value))
    return found
