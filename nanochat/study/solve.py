"""The whole number at which a cost comes nearest to a target, where some numbers make no model and so have no cost."""

from __future__ import annotations

import functools
from collections.abc import Callable

# How far from a number that makes no model (a width that heads do not divide) the next good one is looked for, and how
# far a number may grow at all.
SPAN, LARGEST = 256, 1 << 20

Cost = Callable[[int], float | None]
Point = tuple[int, float]


def solve(cost: Cost, *, start: int, target: float) -> Point:
    """The whole number above 0 whose cost is nearest to `target`, and that cost, by bisection.

    `cost` must not fall as the number grows; None marks numbers that make no model, `start` makes one. Where even the
    smallest or the largest number stays on one side of the target, that one is the nearest.
    """
    known = functools.cache(cost)
    first = known(start)
    assert first is not None, "an arm as it is makes a model"
    low = high = (start, first)
    while high[1] < target and (larger := _near(known, 2 * high[0], inside=(high[0], LARGEST + 1))):
        low, high = high, larger
    while low[1] > target and (smaller := _near(known, low[0] // 2, inside=(0, low[0]))):
        low, high = smaller, low
    while between := _near(known, (low[0] + high[0]) // 2, inside=(low[0], high[0])):
        low, high = (between, high) if between[1] <= target else (low, between)
    return min(low, high, key=lambda point: (abs(point[1] - target), point[0]))


def _near(cost: Cost, wanted: int, *, inside: tuple[int, int]) -> Point | None:
    """The number nearest to `wanted`, strictly inside, that makes a model, and its cost; None where there is none."""
    low, high = inside
    for distance in range(SPAN + 1):
        for number in (wanted + distance, wanted - distance):
            if low < number < high and (found := cost(number)) is not None:
                return number, found
    return None
