"""The next point of a scaling study where points are chosen one by one: the one that tells most of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nanochat.law.compute import measured
from nanochat.law.design import Design as Information
from nanochat.law.design import Place, choose
from nanochat.law.fit import fit
from nanochat.law.hoffmann import Hoffmann
from nanochat.study.design import Design, Size, Unit, families
from nanochat.study.grid import Begins, Cell, start_of

# Fits to few points leave residuals that are smaller than the noise; two runs are never told apart better than this.
LEAST_NOISE = 1e-3


def next_cell(
    design: Design,
    cells: Sequence[Cell],
    losses: Mapping[Cell, float],
    *,
    begins: Begins,
    seed: int,
    left: float,
    unit: Unit,
    turn: int,
) -> Cell | None:
    """The cell that shrinks the variance of the answer most, among those of one arm that `left` pays for.

    cells: all that were chosen, whose places count · losses: of those whose results may be used · turn: arms take
    turns; one of which no run is complete, or for which nothing is affordable, leaves it to the next. None where that
    is so of all.
    """
    names = list(families(design))
    for name in (names[(turn + i) % len(names)] for i in range(len(names))):
        chosen = _of_arm(design, families(design)[name], cells, losses, begins=begins, seed=seed, left=left, unit=unit)
        if chosen:
            return chosen
    return None


def _of_arm(
    design: Design,
    sizes: Sequence[Size],
    cells: Sequence[Cell],
    losses: Mapping[Cell, float],
    *,
    begins: Begins,
    seed: int,
    left: float,
    unit: Unit,
) -> Cell | None:
    """The best next cell of an arm of these sizes."""
    arms = {size.arm for size in sizes}
    used = [(cell, loss) for cell, loss in losses.items() if cell.arm in arms]
    if not used:
        return None
    law, noise = _law(design, used)
    places = {}
    for size in sizes:
        for k in range(design.levels):
            cell = Cell(size.arm, k, design.tokens(size.arm, k), seed)
            if cell not in cells and cell.tokens >= design.steps * design.batch:
                start = start_of(design, cell, cells, begins=begins)
                places[cell] = Place(
                    float(size.params), float(cell.tokens), design.cost(cell.arm, cell.tokens - start, unit)
                )
    there = [cell for cell in cells if cell.arm in arms]
    n = np.array([design.by_arm[cell.arm].params for cell in there], dtype=float)
    known = Information.of(law, n, np.array([cell.tokens for cell in there], dtype=float), noise=noise)
    chosen = choose(known, list(places.values()), c=_six(design, sizes), left=left)
    return next((cell for cell, place in places.items() if place is chosen), None)


def _law(design: Design, used: Sequence[tuple[Cell, float]]) -> tuple[Hoffmann, float]:
    """The law of what is known, and the standard deviation of log losses about it."""
    n = np.array([design.by_arm[cell.arm].params for cell, _ in used], dtype=float)
    d = np.array([cell.tokens for cell, _ in used], dtype=float)
    loss = np.array([loss for _, loss in used])
    law = fit(Hoffmann, {"n": n, "d": d}, loss).law
    spread = float(np.sum((np.log(law.loss(n, d)) - np.log(loss)) ** 2) / max(1, len(used) - 5)) ** 0.5
    return law, max(spread, LEAST_NOISE)


def _six(design: Design, sizes: Sequence[Size]) -> float:
    """The target as 6ND: what the same shape costs by that count. Small models cost more a token than 6N."""
    n = np.array([size.params for size in sizes], dtype=float)
    compute = measured(n, np.array([size.flops for size in sizes]), np.ones(len(sizes)))
    largest = float(n[-1])
    return design.answer_for * 6 * largest / float(compute.per_token(largest))
