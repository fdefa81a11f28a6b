"""Fitting the law: variable projection to begin with, then the Huber loss of log residuals to the end.

Optimisers that never left their start are the classic mistake here (Besiroglu et al., 2404.10102): the fit works in
coordinates in which the parameters are nearly independent, from several starts, and says how many of them agree.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import minimize, nnls
from scipy.special import logsumexp

from nanochat.law.hoffmann import Array, Hoffmann

Point = Float[ndarray, "5"]

STARTS = tuple(itertools.product((0.15, 0.35, 0.6), repeat=2))
LOWEST, HIGHEST = 0.01, 3.0  # of α and β
# E lies between e^-12 and e times the lowest loss, which has noise of its own: E may well be above it.
FLOOR, CEILING = 12.0, 1.0

# Two starts agree where every prediction does.
SAME = 1e-6


@dataclass(frozen=True)
class Certificate:
    """Whether to believe a fit. starts: how many were tried · agree: the share that came to the same predictions ·
    gradient: largest component at the end, of the mean Huber loss in units of δ² · moved: how far α and β are from the
    start that won · bounds: parameters that lie on a bound."""

    starts: int
    agree: float
    gradient: float
    moved: float
    bounds: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """objective: the sum of Huber losses of log residuals."""

    law: Hoffmann
    objective: float
    certificate: Certificate


def fit(n: Array, d: Array, loss: Array, *, delta: float = 1e-3) -> Fit:
    """The law that minimises Σ Huber_δ(log L̂ − log L), by the best of several starts."""
    problem = _Problem(n, d, loss, delta=delta)
    found = [problem.polish(problem.project(*start)) for start in STARTS]
    best = min(range(len(found)), key=lambda i: found[i][1])
    point, objective = found[best]
    seen = problem.predict(point)
    agree = sum(bool(np.max(np.abs(problem.predict(other) - seen)) < SAME) for other, _ in found)
    _, gradient = problem.huber(point)
    return Fit(
        law=problem.law(point),
        objective=objective * delta**2 * len(loss),
        certificate=Certificate(
            starts=len(STARTS),
            agree=agree / len(STARTS),
            gradient=float(np.max(np.abs(gradient))),
            moved=float(np.max(np.abs(point[3:] - np.array(STARTS[best])))),
            bounds=problem.at_bounds(point),
        ),
    )


def refit(n: Array, d: Array, loss: Array, *, near: Hoffmann, delta: float = 1e-3) -> Hoffmann:
    """The law of other rows that are much like those of `near`, from there."""
    problem = _Problem(n, d, loss, delta=delta)
    return problem.law(problem.polish(problem.point(near))[0])


class _Problem:
    """The data in logs about their means: there α and log A, β and log B hardly pull at each other.

    A point is (log E, log A', log B', α, β) with A' = A·exp(−α·mean log N) and the loss over its geometric mean.
    """

    def __init__(self, n: Array, d: Array, loss: Array, *, delta: float) -> None:
        self.mean_n, self.mean_d, self.mean_loss = (float(np.mean(np.log(x))) for x in (n, d, loss))
        self.n, self.d = np.log(n) - self.mean_n, np.log(d) - self.mean_d
        self.loss = np.log(loss) - self.mean_loss
        self.delta = delta
        least = float(np.min(self.loss))
        self.bounds = [
            (least - FLOOR, least + CEILING),
            (-40.0, 10.0),
            (-40.0, 10.0),
            (LOWEST, HIGHEST),
            (LOWEST, HIGHEST),
        ]

    def project(self, alpha: float, beta: float) -> Point:
        """Improve α and β; for each pair E, A and B follow by non-negative least squares of relative residuals."""
        weight = np.exp(-self.loss)

        def solve(shape: ndarray) -> tuple[ndarray, float]:
            columns = np.stack([np.ones_like(self.n), np.exp(-shape[0] * self.n), np.exp(-shape[1] * self.d)], axis=1)
            coefficients, residual = nnls(columns * weight[:, None], np.ones_like(weight))
            return coefficients, residual

        def outer(shape: ndarray) -> float:
            return solve(np.clip(shape, LOWEST, HIGHEST))[1]

        shape = np.clip(
            minimize(outer, [alpha, beta], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10}).x,
            LOWEST,
            HIGHEST,
        )
        logs = np.log(np.maximum(solve(shape)[0], 1e-15))
        low, high = np.array(self.bounds).T
        return np.clip(np.concatenate([logs, shape]), low, high)

    def polish(self, point: Point) -> tuple[Point, float]:
        """L-BFGS on the Huber loss, begun again until it stands still."""
        value = math.inf
        for _ in range(20):
            options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-16, "gtol": 1e-12, "maxcor": 20}
            step = minimize(self.huber, point, jac=True, method="L-BFGS-B", bounds=self.bounds, options=options)
            if step.fun >= value * (1 - 1e-13):
                break
            point, value = step.x, float(step.fun)
        return point, value

    def huber(self, point: Point) -> tuple[float, Point]:
        """Mean Huber loss of the log residuals, over δ², and its gradient."""
        terms = self.terms(point)
        predicted = np.asarray(logsumexp(terms, axis=0))
        residual = (predicted - self.loss) / self.delta
        inside = np.abs(residual) <= 1
        value = np.mean(np.where(inside, residual**2 / 2, np.abs(residual) - 0.5))
        pull = np.clip(residual, -1, 1) / (self.delta * len(residual))
        share = np.exp(terms - predicted)
        by_term = share @ pull
        by_shape = [-(share[1] * self.n) @ pull, -(share[2] * self.d) @ pull]
        return float(value), np.concatenate([by_term, by_shape])

    def terms(self, point: Point) -> Float[ndarray, "3 runs"]:
        """Logs of the three terms of the law."""
        e, a, b, alpha, beta = point
        return np.stack([np.full_like(self.n, e), a - alpha * self.n, b - beta * self.d])

    def predict(self, point: Point) -> Array:
        """Log loss about its mean."""
        return np.asarray(logsumexp(self.terms(point), axis=0))

    def point(self, law: Hoffmann) -> Point:
        """The coordinates of a law, moved inside the bounds."""
        a = math.log(law.A) - self.mean_loss - law.alpha * self.mean_n
        b = math.log(law.B) - self.mean_loss - law.beta * self.mean_d
        low, high = np.array(self.bounds).T
        return np.clip(np.array([math.log(law.E) - self.mean_loss, a, b, law.alpha, law.beta]), low, high)

    def law(self, point: Point) -> Hoffmann:
        """The law in the units of the data."""
        e, a, b, alpha, beta = map(float, point)
        scale = self.mean_loss
        return Hoffmann(
            E=math.exp(e + scale),
            A=math.exp(a + scale + alpha * self.mean_n),
            B=math.exp(b + scale + beta * self.mean_d),
            alpha=alpha,
            beta=beta,
        )

    def at_bounds(self, point: Point) -> tuple[str, ...]:
        names = ("E", "A", "B", "alpha", "beta")
        found = zip(names, point, self.bounds, strict=True)
        return tuple(name for name, value, (low, high) in found if min(value - low, high - value) < 1e-9)
