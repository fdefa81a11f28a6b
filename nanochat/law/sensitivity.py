"""How much of an answer is the choice of whoever fitted: δ, log or raw loss, outliers, what N and C are; and which runs
it hangs on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from nanochat.law.compute import SIX, Compute, frontier
from nanochat.law.fit import Options, Problem, fit
from nanochat.law.hoffmann import Array, Hoffmann

DELTAS = (1e-4, 1e-3, 1e-2, float("inf"))

# Outliers by median and MAD (Iglewicz and Hoaglin, 1993).
OUTLIER = 3.5

On = Literal["log", "raw"]


@dataclass(frozen=True)
class Choice:
    """delta, on: as in `Options` · outliers: whether they count · n, c: which definitions of N and C."""

    delta: float
    on: On
    outliers: bool
    n: str
    c: str


@dataclass(frozen=True)
class Row:
    """What one choice comes to. exponent: a of N* ∝ C^a under C = 6ND · params, loss: N* and L at the target."""

    choice: Choice
    exponent: float
    alpha: float
    beta: float
    E: float
    params: float
    loss: float


@dataclass(frozen=True)
class Influence:
    """Without one cluster: by how many of its standard errors a moves, and log N* at the target."""

    cluster: str
    exponent: float
    params: float


def sensitivity(
    sizes: Mapping[str, Array], d: Array, loss: Array, *, at: float, costs: Mapping[str, Compute] | None = None
) -> list[Row]:
    """The law by every choice, at `at` FLOPs. `sizes`: the same models by each definition of N; `costs`: what a token
    costs by each definition of C, for the first definition of N alone. Outliers are the same rows throughout, those of
    the first definition; without any, that choice is not among the rows."""
    first = next(iter(sizes))
    kept = {True: np.ones(len(d), dtype=bool), False: ~outliers(sizes[first], d, loss)}
    rows = []
    for name, with_outliers, on, delta in itertools.product(sizes, (True, False), ("log", "raw"), DELTAS):
        if not with_outliers and kept[False].all():
            continue
        some = kept[with_outliers]
        law = fit(Hoffmann, {"n": sizes[name][some], "d": d[some]}, loss[some], options=Options(delta=delta, on=on)).law
        for c, compute in ({"6ND": SIX} | dict(costs or {} if name == first else {})).items():
            best = frontier(law, compute, at)
            choice = Choice(delta, on, with_outliers, name, c)
            rows.append(Row(choice, law.exponent, law.alpha, law.beta, law.E, best.params, best.loss))
    return rows


def outliers(n: Array, d: Array, loss: Array) -> Bool[ndarray, "runs"]:
    """Rows whose log residual, from the usual fit, is further from the median than 3.5 of its robust deviations."""
    law = fit(Hoffmann, {"n": n, "d": d}, loss).law
    residual = np.log(loss / law.loss(n, d))
    away = np.abs(residual - np.median(residual))
    # The fit goes through as many rows as it has numbers (Maronna et al., Robust Statistics, section 4.4): these say
    # nothing of the spread. Residuals of rounding alone have no outliers.
    spread = 1.4826 * float(np.median(np.sort(away)[len(Hoffmann.names()) :]))
    return away > OUTLIER * max(spread, 1e-9)


def influences(
    n: Array,
    d: Array,
    loss: Array,
    *,
    law: Hoffmann,
    laws: Sequence[Hoffmann],
    clusters: Sequence[object],
    at: float,
    options: Options | None = None,
) -> list[Influence]:
    """Each cluster left out in turn, the most influential first. Standard errors are those of `laws`, the fits to runs
    drawn again; `law` is the fit to all of them."""
    problem = Problem.of(Hoffmann, {"n": n, "d": d}, loss, options=options or Options())
    names = list(dict.fromkeys(str(name) for name in clusters))
    without = np.array([[str(name) != own for name in clusters] for own in names], dtype=float)
    start = np.tile(law.point(problem.frame), (len(names), 1))
    points, _ = problem.polish(start, weights=problem.weights * without)
    errors = np.std([_answer(other, at) for other in laws], axis=0, ddof=1)
    moved = np.array([_answer(Hoffmann.at(point, problem.frame), at) for point in points]) - _answer(law, at)
    units = moved / errors
    order = np.argsort(-np.max(np.abs(units), axis=1), kind="stable")
    return [Influence(names[i], float(units[i, 0]), float(units[i, 1])) for i in order]


def _answer(law: Hoffmann, at: float) -> ndarray:
    return np.array([law.exponent, np.log(law.params(at))])
