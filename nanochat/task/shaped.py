"""The shape of a config's proportion whose number of parameters is nearest to a wanted one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from nanochat.core.errors import SpecError, spec_error
from nanochat.model.transformer import DIM_MULTIPLE
from nanochat.run.spec import RunSpec

# What a law counts as N: all parameters, or those without embeddings and head.
Counted = Literal["total", "body"]

# Of so many widths one is not refused; many are, by heads that do not divide them.
WINDOW = 16

# A shape further than this from the wanted parameters answers another question.
NEAR = 2.0

# Widest that is tried.
WIDEST = 2**17


def params_of(run: RunSpec, counted: Counted) -> int:
    """The parameters of a resolved run, as a law counts them."""
    if counted == "total":
        return run.cost.params
    return run.architecture.non_embedding_params(vocab=run.tokenizer.ids, context=run.context)


def shaped(run: RunSpec, params: float, *, counted: Counted) -> RunSpec:
    """The run with the width and depth whose parameters are nearest to `params`, as wide for its depth as its model.

    Raises `SpecError` where no shape comes within a factor of two.
    """
    aspect = run.model.aspect or run.model.width / run.model.depth
    refused: list[SpecError] = []

    def at(k: int) -> RunSpec | None:
        dim = DIM_MULTIPLE * k
        model = run.model.replace(dim=dim, aspect=None, depth=max(1, round(dim / aspect)))
        try:
            return run.replace(model=model).resolve()
        except SpecError as error:
            refused.append(error)
            return None

    middle = _first(lambda k: _reaches(at, k, params, counted), high=WIDEST // DIM_MULTIPLE)
    sides = (range(middle, middle + WINDOW), range(middle - 1, max(0, middle - WINDOW), -1))
    nearest = (next((shape for k in side if (shape := at(k)) is not None), None) for side in sides)
    found = [shape for shape in nearest if shape is not None]
    if not found:
        raise refused[-1]
    best = min(found, key=lambda shape: abs(math.log(params_of(shape, counted) / params)))
    count = params_of(best, counted)
    if abs(math.log(count / params)) > math.log(NEAR):
        rule = (
            f"no shape with {aspect:g} of width per block has about {params:.3g} parameters: the nearest has {count:,}"
        )
        raise spec_error("model.aspect", f"{aspect:g}", rule, "ask for another compute, or change model.aspect")
    return best


def _reaches(at: Callable[[int], RunSpec | None], k: int, params: float, counted: Counted) -> bool:
    """Whether width k, or the next that is not refused, has as many parameters."""
    for width in range(k, k + WINDOW):
        shape = at(width)
        if shape is not None:
            return params_of(shape, counted) >= params
    return True


def _first(reaches: Callable[[int], bool], *, high: int) -> int:
    """The least k ≥ 1 that reaches; `high` where none below does."""
    low, step = 0, 1
    while step < high and not reaches(step):
        low, step = step, 2 * step
    high = min(step, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high
