"""Which points a scaling study runs: sizes around the best one at each level of compute.

A cell is a size, a level and a seed. The best size at a level is first guessed (so many tokens a parameter), or taken
from what trying rates at the lowest level has shown, and grows with the root of the compute from there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanochat.core.spec import load
from nanochat.lr.base import LRSpec
from nanochat.study.definition import Definition
from nanochat.study.design import Design, Size, Unit, families

# By how much the best size grows with compute before anything is known here (Hoffmann et al., 2203.15556: about ½).
GROWTH = 0.5

# Tokens at which the decay of an arm's run of so many tokens begins, and from which a longer one can go on.
Begins = Callable[[str, int], int]

# Runs that finding a size's rate takes, about, and points that are chosen one by one after the first ones, at least.
RATES, LATER = 3.5, 10

# Of what a budget pays for, the share that the first grid takes; the rest is for sizes that prove to be missing.
FIRST_SHARE = 0.9


@dataclass(frozen=True)
class Cell:
    """A point of the study: arm with its size, level, training tokens, seed."""

    arm: str
    level: int
    tokens: int
    seed: int


def centre(design: Design, k: int, *, lowest: float | None = None) -> float:
    """The number of parameters around which sizes are chosen at level `k`; `lowest`: the best one at level 0."""
    guessed = math.sqrt(design.level(0) / 6 / design.guess)
    return (lowest or guessed) * design.growth ** (GROWTH * k)


def around(design: Design, sizes: Sequence[Size], k: int, *, params: float) -> list[Size]:
    """`breadth` neighbouring sizes of one arm about `params` parameters that train for enough steps at level `k`."""
    long = [size for size in sizes if design.tokens(size.arm, k) >= design.steps * design.batch]
    if len(long) <= design.breadth:
        return long
    logs = np.log([size.params for size in long])
    starts = range(len(long) - design.breadth + 1)
    best = min(starts, key=lambda i: abs(float(logs[i : i + design.breadth].mean()) - math.log(params)))
    return long[best : best + design.breadth]


def row(design: Design, k: int, *, lowest: Mapping[str, float | None], seeds: Sequence[int]) -> list[Cell]:
    """The cells of level `k`, arm by arm, the smallest size first; `lowest`: the best size at level 0 of each arm."""
    return [
        Cell(size.arm, k, design.tokens(size.arm, k), seed)
        for name, sizes in families(design).items()
        for size in around(design, sizes, k, params=centre(design, k, lowest=lowest.get(name)))
        for seed in seeds
    ]


def missing_sizes(
    design: Design, cells: Sequence[Cell], losses: Mapping[Cell, float], *, seeds: Sequence[int]
) -> list[Cell]:
    """The next cells beyond each level whose best size is the smallest or the largest that was run there.

    losses: of the cells that are complete; a level is extended up to twice the breadth of the grid.
    """
    found: list[Cell] = []
    for sizes in families(design).values():
        arms = [size.arm for size in sizes]
        for k in sorted({cell.level for cell in cells}):
            run = sorted({arms.index(cell.arm) for cell in cells if cell.level == k and cell.arm in arms})
            means = {i: np.mean(own) for i in run if (own := _losses(losses, arms[i], k))}
            if not means or len(run) >= 2 * design.breadth:
                continue
            best = min(means, key=lambda i: means[i])
            beyond = run[0] - 1 if best == min(means) else run[-1] + 1 if best == max(means) else -1
            if 0 <= beyond < len(arms):
                tokens = design.tokens(arms[beyond], k)
                if tokens >= design.steps * design.batch:
                    found += [Cell(arms[beyond], k, tokens, seed) for seed in seeds]
    return found


def tuned_sizes(design: Design, sizes: Sequence[Size]) -> list[Size]:
    """The sizes of one arm at which rates are tried: of those of the lowest level, spread evenly."""
    if design.transfer == "none":
        return []
    lowest = around(design, sizes, 0, params=centre(design, 0))
    count = min(1 if design.transfer == "mup" else design.tuned, len(lowest))
    places = [len(lowest) // 2] if count == 1 else np.linspace(0, len(lowest) - 1, count).round().astype(int)
    return [lowest[i] for i in places]


def all_tuned(design: Design) -> list[Size]:
    """The same of all arms."""
    return [size for sizes in families(design).values() for size in tuned_sizes(design, sizes)]


def with_levels(design: Design, *, begins: Begins, seeds: Sequence[int], caps: Mapping[Unit, float]) -> Design:
    """The design with the largest lowest level whose first grid the caps pay for, each in its unit."""

    def fits(exponent: float) -> bool:
        tried = replace(design, least=10.0**exponent)
        return all(
            nominal(tried, begins=begins, seeds=seeds, unit=unit) <= FIRST_SHARE * cap for unit, cap in caps.items()
        )

    low, high = 0.0, 40.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return replace(design, least=float(f"{0.9995 * 10.0**low:.4g}"))


def first_cells(
    design: Design, *, seeds: Sequence[int], lowest: Mapping[str, float | None] | None = None
) -> list[Cell]:
    """The first grid: all levels, or, where later points are chosen one by one, the lowest two."""
    levels = design.levels if design.kind == "isoflop" else min(2, design.levels)
    return [cell for k in range(levels) for cell in row(design, k, lowest=lowest or {}, seeds=seeds)]


def nominal(design: Design, *, begins: Begins, seeds: Sequence[int], unit: Unit) -> float:
    """What rates and first grid cost if the first guess holds, and, where later points are chosen one by one, a few of
    those."""
    tuned = all_tuned(design)
    rates = sum(RATES * design.cost(size.arm, design.tokens(size.arm, 0), unit) for size in tuned)
    cells = first_cells(design, seeds=seeds)
    known = rates + sum(costs(design, cells, begins=begins, unit=unit).values())
    if design.kind == "isoflop":
        return known
    top = row(design, design.levels - 1, lowest={}, seeds=seeds[:1])
    return known + LATER * sum(design.cost(cell.arm, cell.tokens, unit) for cell in top) / max(1, len(top))


def costs(design: Design, cells: Sequence[Cell], *, begins: Begins, unit: Unit) -> dict[Cell, float]:
    """What each cell costs, in the order of their numbers, where all goes well."""
    found: dict[Cell, float] = {}
    own: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        before = own[cell.arm, cell.seed]
        found[cell] = design.cost(cell.arm, cell.tokens - start_of(design, cell, before, begins=begins), unit)
        before.append(cell)
    return found


def start_of(design: Design, cell: Cell, before: Sequence[Cell], *, begins: Begins) -> int:
    """The tokens at which a cell goes on from the longest shorter one of its size and seed among those `before` it."""
    shorter = siblings(cell, before)
    return begins(cell.arm, max(other.tokens for other in shorter)) if design.branches and shorter else 0


def siblings(cell: Cell, before: Sequence[Cell]) -> list[Cell]:
    """The shorter cells of the same arm, size and seed."""
    return [c for c in before if (c.arm, c.seed) == (cell.arm, cell.seed) and c.tokens < cell.tokens]


def begins_of(definition: Definition) -> Begins:
    """Where the decay of a run begins, by its arm's own schedule."""
    assert definition.design is not None
    batch = definition.design.batch
    schedules = {name: load(run["lr"], LRSpec, at="lr") for name, run in definition.runs.items()}

    def begins(arm: str, tokens: int) -> int:
        at = schedules[arm].decay_begins(tokens // batch)
        return 0 if at is None else at * batch

    return begins


def _losses(losses: Mapping[Cell, float], arm: str, k: int) -> list[float]:
    return [loss for cell, loss in losses.items() if (cell.arm, cell.level) == (arm, k)]
