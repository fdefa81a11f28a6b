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


@dataclass(frozen=True)
class Place:
    """A run that could be, or is: parameters, training tokens, cost in any unit."""

    n: float
    d: float
    cost: float


@dataclass(frozen=True)
class Target:
    """What is asked: N*(C) and L(C) at `compute` FLOPs."""

    compute: float


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations predicted at the target: of log N*, of log L, and of the regret of the shape chosen,
    L(chosen)/L(best) − 1 on average."""

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

    def directions(self, target: Target) -> Float[ndarray, "2 5"]:
        """Gradients of log N*(C) and of log L(C), C = 6ND, by the same coordinates."""
        law, total = self.law, self.law.alpha + self.law.beta
        params, tokens = law.params(target.compute), law.tokens(target.compute)
        # α A N^-α = β B D^-β at the best shape; its logs differ by nought, and move with log N at the rate α + β.
        by_params = np.array([0, 1, -1, 1 / law.alpha, -1 / law.beta]) / total
        by_params += np.array([0, 0, 0, -(math.log(params) - self.middle[0]), math.log(tokens) - self.middle[1]]) / total
        return np.stack([by_params, self.gradients(np.array([params]), np.array([tokens]))[0]])

    def uncertainty(self, target: Target) -> Uncertainty:
        """What is predicted of the answer's error."""
        params, loss = np.sqrt(np.einsum("ti,ij,tj->t", *self._pair(target)))
        return Uncertainty(float(params), float(loss), float(params**2 * self._curvature(target) / 2))

    def gains(self, places: Sequence[Place], *, target: Target, balance: float) -> Float[ndarray, "places"]:
        """By how much each place, alone, would shrink the two variances, each as a share of what it is now; `balance`
        of the weight is on log N*, the rest on log L."""
        rows = self.gradients(np.array([p.n for p in places]), np.array([p.d for p in places]))
        directions = self.directions(target)
        reach = rows @ self.covariance
        shrinks = (directions @ reach.T) ** 2 / (self.noise**2 + np.einsum("pi,pi->p", reach, rows))
        now = np.einsum("ti,ij,tj->t", directions, self.covariance, directions)
        return np.array([balance, 1 - balance]) @ (shrinks / now[:, None])

    def _pair(self, target: Target) -> tuple[ndarray, ndarray, ndarray]:
        directions = self.directions(target)
        return directions, self.covariance, directions

    def _curvature(self, target: Target) -> float:
        """d² log L / d(log N)² along C at the best shape."""
        law, params = self.law, self.law.params(target.compute)
        return law.alpha * law.A * params**-law.alpha * (law.alpha + law.beta) / law.best(target.compute)


def choose(
    design: Design, places: Sequence[Place], *, target: Target, left: float, balance: float = 0.5, thrift: float = 1.0
) -> Place | None:
    """The place to run next: the largest gain per cost^thrift among those that `left` pays for; None where none is.

    thrift 1 is per unit of cost, 0 is in all. Ties go to the first.
    """
    affordable = [place for place in places if place.cost <= left]
    if not affordable:
        return None
    gains = design.gains(affordable, target=target, balance=balance)
    return affordable[int(np.argmax(gains / np.array([p.cost for p in affordable]) ** thrift))]
