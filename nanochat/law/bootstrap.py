"""How sure a law is: the same fit to runs drawn again.

Drawn again, few runs leave out whole corners of a design: with 12 to 20 of them a 95% interval is up to twice too wide,
where `nanochat.law.profile` covers what it says. From some fifty runs on the two agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.core.progress import track
from nanochat.law.fit import Options, Problem
from nanochat.law.form import Array, Law, Values
from nanochat.law.noise import numbered

L = TypeVar("L", bound=Law)

# So many tables are refitted at once: more would leave the processor's caches.
TOGETHER = 250


def resampled(
    inputs: Mapping[str, Array],
    y: Array,
    *,
    clusters: Sequence[object],
    near: L,
    count: int,
    seed: int,
    options: Options | None = None,
) -> list[L]:
    """Laws of `count` tables of clusters drawn with replacement: rows of one run stay together."""
    problem = Problem.of(type(near), inputs, y, options=options or Options())
    start, draws = near.point(problem.frame), drawn(clusters, count=count, seed=seed)

    def refits() -> Iterator[L]:
        for first in range(0, count, TOGETHER):
            weights = problem.weights * draws[first : first + TOGETHER]
            points, _ = problem.polish(np.tile(start, (len(weights), 1)), weights=weights)
            yield from (type(near).at(point, problem.frame) for point in points)

    return list(track(refits(), total=count, label="resampling the rows"))


def drawn(clusters: Sequence[object], *, count: int, seed: int) -> Values:
    """How often each row stands in each table: its cluster's number of draws."""
    numbers = numbered(clusters)
    many = int(numbers.max()) + 1
    times = np.random.default_rng(seed).multinomial(many, np.full(many, 1 / many), size=count)
    return times[:, numbers].astype(float)


def interval(laws: Sequence[L], value: Callable[[L], float], *, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of a quantity over resampled laws."""
    found: Float[ndarray, "laws"] = np.array([value(law) for law in laws])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
