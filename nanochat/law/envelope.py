"""Approach 1 of Hoffmann et al. (2203.15556, section 3.1): which size has the lowest loss at each of many amounts of
compute, and a line through those sizes in logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.bootstrap import drawn as draws_of
from nanochat.law.compute import SIX, Compute
from nanochat.law.hoffmann import Array
from nanochat.law.line import Line, line

# As many levels of compute as in the paper would do no harm; these are enough to place every step of the envelope.
LEVELS = 400

FEWEST_SIZES = 3


@dataclass(frozen=True)
class Envelope:
    """compute, params, loss: the levels at which a size wins that is neither the least nor the largest of those trained
    for that compute · edge: the share of the other levels, at which the best may lie beyond · params_line, tokens_line:
    log N* and log D* on log C, None where fewer than three sizes win."""

    compute: Float[ndarray, "levels"]
    params: Float[ndarray, "levels"]
    loss: Float[ndarray, "levels"]
    edge: float
    params_line: Line | None
    tokens_line: Line | None

    @property
    def exponent(self) -> float | None:
        """a of N*(C) ∝ C^a."""
        return self.params_line.slope if self.params_line else None


def approach_1(n: Array, d: Array, loss: Array, *, compute: Compute = SIX, levels: int = LEVELS) -> Envelope:
    """The lower envelope of loss against compute, from curves (rows along the tokens of each size) or final points.

    Each size's loss is read between its own rows, straight in logs, and never beyond them; a size with one row counts
    at the one level nearest to it. Levels that no size reaches are left out.
    """
    c = compute.of(n, d)
    grid = np.linspace(np.log(np.min(c)), np.log(np.max(c)), levels)
    sizes = np.unique(n)
    curves = np.stack([_curve(np.log(c[n == size]), np.log(loss[n == size]), grid) for size in sizes])
    reached = np.isfinite(curves).any(axis=0)
    grid, curves = grid[reached], curves[:, reached]
    winner = np.argmin(curves, axis=0)
    there = np.isfinite(curves)
    inside = (winner > np.argmax(there, axis=0)) & (winner < len(sizes) - 1 - np.argmax(there[::-1], axis=0))
    at, best = np.exp(grid[inside]), sizes[winner[inside]]
    lowest = np.exp(curves.min(axis=0)[inside])
    edge = float(1 - np.mean(inside))
    if len(set(best.tolist())) < FEWEST_SIZES:
        return Envelope(at, best, lowest, edge, None, None)
    even = np.ones_like(at)
    tokens = at / np.asarray(compute.per_token(best))
    return Envelope(at, best, lowest, edge, line(at, best, weights=even), line(at, tokens, weights=even))


def drawn(
    n: Array,
    d: Array,
    loss: Array,
    *,
    clusters: Sequence[object],
    count: int,
    seed: int,
    compute: Compute = SIX,
) -> list[Envelope]:
    """Approach 1 on `count` tables of clusters drawn with replacement; draws without a line are not among them."""
    times = draws_of(clusters, count=count, seed=seed).astype(int)
    tables = (np.repeat(np.arange(len(n)), row) for row in times)
    found = [approach_1(n[table], d[table], loss[table], compute=compute) for table in tables]
    return [envelope for envelope in found if envelope.params_line]


def _curve(c: ndarray, loss: ndarray, grid: ndarray) -> ndarray:
    """One size's log loss at the levels of log compute; infinite where it was not trained that far or that little."""
    places, which = np.unique(c, return_inverse=True)
    means = np.bincount(which, weights=loss) / np.bincount(which)
    if len(places) == 1:
        return np.where(np.arange(len(grid)) == np.argmin(np.abs(grid - places[0])), means[0], np.inf)
    found = np.interp(grid, places, means)
    return np.where((grid < places[0]) | (grid > places[-1]), np.inf, found)
