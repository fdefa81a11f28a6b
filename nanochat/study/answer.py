"""What a scaling study answers with, beside its law: a shape that can be trained, and the rate to train it with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.core.spec import load
from nanochat.run.spec import RunSpec
from nanochat.study import rates
from nanochat.study.definition import Definition
from nanochat.study.design import families
from nanochat.study.sizes import STEP_OF_WIDTH, in_proportion, of_width

# The names of a ladder's sizes, which are of one proportion; others were named by hand.
LADDER = re.compile(r"\d+x\d+")


@dataclass(frozen=True)
class Shape:
    """overrides: that make it · params, flops: of the model, and of training it on one token."""

    overrides: tuple[str, ...]
    params: int
    flops: float


def rate_laws(definition: Definition, rows: Sequence[Mapping[str, Any]]) -> dict[str, rates.RateLaw]:
    """The law of rates of each arm, by its name at every size, from the rows of a study's table.

    Raises `MachineError` where rates were tried for an arm and none came to its end.
    """
    assert definition.design is not None, "a scaling study"
    losses: dict[str, dict[float, float]] = {}
    for row in rows:
        if row["phase"] == "tune":
            score = row["valid_bpb"] if row["status"] == "complete" else None
            losses.setdefault(row["arm"], {})[row["lr.peak"]] = rates.loss_of(row["status"], score)
    return rates.rate_laws(definition.design, losses)


def shape_for(definition: Definition, arm: str, params: float) -> Shape:
    """The shape of an arm, by its name at every size, whose parameters are nearest to `params`: of the study's own
    proportion, or, where its sizes were named, the nearest of those."""
    design = definition.design
    assert design is not None, "a scaling study"
    sizes = families(design)[arm]
    runs = {size.arm: _run(definition, size.arm) for size in sizes}
    run = runs[sizes[-1].arm]
    scales = [definition.arm(size.arm).scale for size in sizes]
    if not all(map(LADDER.fullmatch, scales)) or not all(in_proportion(run, each) for each in runs.values()):
        nearest = min(sizes, key=lambda size: abs(math.log(size.params / params)))
        return Shape(definition.arm(nearest.arm).overrides, nearest.params, nearest.flops)
    found = None
    for dim in range(STEP_OF_WIDTH, 2**16, STEP_OF_WIDTH):
        overrides, model = of_width(run, dim)
        if model is None or not in_proportion(run, model):
            continue
        shape = Shape(overrides, model.cost.params, model.training_cost.flops)
        if found is None or abs(math.log(shape.params / params)) < abs(math.log(found.params / params)):
            found = shape
        if shape.params > 4 * params:
            break
    assert found is not None, "the study's own sizes are shapes"
    return found


def _run(definition: Definition, arm: str) -> RunSpec:
    return load({key: value for key, value in definition.runs[arm].items() if key != "texts"}, RunSpec)
