"""Which runs to pay for: a grid of budgets and sizes, or, one after another, the run that tells most of the target.

The second is V-optimal design: the variance of a prediction is hᵀ M⁻¹ h, with M the sum of g gᵀ / σ² over the points,
and one more point changes it by (hᵀ M⁻¹ g)² / (σ² + gᵀ M⁻¹ g). Only the places of points matter, not their losses:
points in flight count like finished ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.law.compute import SIX, Compute
from nanochat.law.hoffmann import Array, Hoffmann

# What is thought of a law before any run, as standard deviations of (log E, log A', log B', α, β), A' and B' the terms
# at the middle of the points: wide, and there so that fewer than five points have a finite variance.
PRIOR = (0.5, 1.0, 1.0, 0.15, 0.15)

# The weight on the best shape; the rest is on its loss. All of it on the loss made the regret three times as large, all
# of it on the shape the error of the loss twice as large.
BALANCE = 0.5


@dataclass(frozen=True)
class Place:
    """A run that could be, or is: parameters, training tokens, cost in any unit."""

    n: float
    d: float
    cost: float


@dataclass(frozen=True)
class Uncertainty:
    """Predicted of the answer at the target: standard deviations of log N* and of log L, and the mean regret of the
    shape chosen, L(chosen)/L(best) − 1."""

    params: float
    loss: float
    regret: float


def isoflop_grid(
    guess: float, *, at: float, budgets: Sequence[float], sizes: int, span: float, compute: Compute = SIX
) -> list[Place]:
    """Sizes evenly in logs from N*/span to N*·span in each budget; N* = `guess` at `at` FLOPs, growing as √C."""
    places = []
    for c in budgets:
        middle = guess * math.sqrt(c / at)
        for n in np.geomspace(middle / span, middle * span, sizes):
            places.append(Place(float(n), c / float(compute.per_token(float(n))), c))
    return places


def candidates(
    *, params: Sequence[float], tokens_per_param: Sequence[float], most: float, compute: Compute = SIX
) -> list[Place]:
    """Every size at every ratio that costs no more than `most` FLOPs."""
    shapes = [(n, n * ratio) for n in params for ratio in tokens_per_param]
    places = [Place(n, d, float(compute.per_token(n)) * d) for n, d in shapes]
    return [place for place in places if place.cost <= most]


@dataclass(frozen=True)
class Design:
    """What the points so far tell of a law near `law`, with `noise` the standard deviation of log loss."""

    law: Hoffmann
    covariance: Float[ndarray, "5 5"]
    noise: float
    middle: tuple[float, float]

    @classmethod
    def of(cls, law: Hoffmann, n: Array, d: Array, *, noise: float) -> Design:
        """The information of points at these places."""
        middle = (float(np.mean(np.log(n))), float(np.mean(np.log(d))))
        bare = cls(law, np.diag(np.square(PRIOR)), noise, middle)
        rows = bare.gradients(n, d)
        return cls(law, np.linalg.inv(np.diag(1 / np.square(PRIOR)) + rows.T @ rows / noise**2), noise, middle)

    def plus(self, place: Place) -> Design:
        """With one more point, by a rank-one update (Sherman and Morrison)."""
        g = self.gradients(np.array([place.n]), np.array([place.d]))[0]
        reach = self.covariance @ g
        less = np.outer(reach, reach) / (self.noise**2 + g @ reach)
        return Design(self.law, self.covariance - less, self.noise, self.middle)

    def gradients(self, n: Array, d: Array) -> Float[ndarray, "runs 5"]:
        """Of log L(N, D) by (log E, log A', log B', α, β)."""
        law, (middle_n, middle_d) = self.law, self.middle
        by_n, by_d = law.A * np.power(n, -law.alpha), law.B * np.power(d, -law.beta)
        slopes = [
            np.full_like(by_n, law.E), by_n, by_d, -by_n * (np.log(n) - middle_n), -by_d * (np.log(d) - middle_d),
        ]  # fmt: skip
        return np.stack(slopes, axis=1) / (law.E + by_n + by_d)[:, None]

    def directions(self, c: float) -> Float[ndarray, "2 5"]:
        """Gradients of log N*(C) and of log L(C), C = 6ND, by the same coordinates."""
        law, total = self.law, self.law.alpha + self.law.beta
        params, tokens = law.params(c), law.tokens(c)
        # At the best shape α·A·N^-α = β·B·D^-β; along C the ratio of the two falls as N^(α+β).
        by_alpha = 1 / law.alpha - math.log(params) + self.middle[0]
        by_beta = math.log(tokens) - self.middle[1] - 1 / law.beta
        slopes = [0, 1, -1, by_alpha, by_beta]
        return np.stack([np.array(slopes) / total, self.gradients(np.array([params]), np.array([tokens]))[0]])

    def uncertainty(self, c: float) -> Uncertainty:
        """What is predicted of the error at `c` FLOPs."""
        params, loss = np.sqrt(self._variances(self.directions(c)))
        law, best = self.law, self.law.params(c)
        curvature = law.alpha * law.A * best**-law.alpha * (law.alpha + law.beta) / law.best(c)
        return Uncertainty(float(params), float(loss), float(curvature * params**2 / 2))

    def gains(self, places: Sequence[Place], *, c: float, balance: float) -> Float[ndarray, "places"]:
        """By how much each place, alone, would shrink the two variances, each as a share of what it is now; `balance`
        of the weight is on log N*, the rest on log L."""
        rows = self.gradients(np.array([place.n for place in places]), np.array([place.d for place in places]))
        directions, reach = self.directions(c), rows @ self.covariance
        shrinks = (directions @ reach.T) ** 2 / (self.noise**2 + np.einsum("pi,pi->p", reach, rows))
        return np.array([balance, 1 - balance]) @ (shrinks / self._variances(directions)[:, None])

    def _variances(self, directions: Float[ndarray, "2 5"]) -> Float[ndarray, "2"]:
        return np.einsum("ti,ij,tj->t", directions, self.covariance, directions)


def choose(
    design: Design, places: Sequence[Place], *, c: float, left: float, balance: float = BALANCE, thrift: float = 0.0
) -> Place | None:
    """The place to run next for the target of `c` FLOPs: the largest gain over cost^thrift among those that `left`
    pays for; None where none is. thrift 1 is per unit of cost, 0 is in all. Ties go to the first.

    In all is better, a third of the regret at the same budget and with fewer runs (benchmarks/planner.py): cheap runs
    teach little of what is far away. No run should take much more than a tenth of the budget: bound by `candidates`.
    """
    affordable = [place for place in places if place.cost <= left]
    if not affordable:
        return None
    gains = design.gains(affordable, c=c, balance=balance)
    return affordable[int(np.argmax(gains / np.array([place.cost for place in affordable]) ** thrift))]
