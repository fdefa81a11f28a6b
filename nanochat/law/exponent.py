"""a of N*(C) ∝ C^a as a smooth function of a law's numbers, so that its likelihood can be profiled.

`frontier` looks for N* on grids, which is right to seven digits and in steps. Here it is where the slope is nought.
"""

from __future__ import annotations

import math

from nanochat.law.compute import SIX, Compute
from nanochat.law.form import Law
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.kaplan import Kaplan

# A measured exponent is that of a factor of ten about the compute, as in `approaches.slope`.
DECADE = math.log(10)

# The root is nearly a straight line's: a handful of steps is enough.
STEPS, NEAR = 60, 1e-13


def exponent(law: Law, compute: Compute, at: float) -> float:
    """a at `at` FLOPs, of a form that is a function of N and D. Raises ValueError where the law has no best size."""
    same = additive(law)
    if compute == SIX:
        return same.exponent
    low, high = (_log_params(same, compute, math.log(at) + side * DECADE / 2) for side in (-1, 1))
    return (high - low) / DECADE


def additive(law: Law) -> Hoffmann:
    """A law E + A/N^α + B/D^β with the same best shapes: what Kaplan's form raises to a power is such a sum."""
    if isinstance(law, Hoffmann):
        return law
    assert isinstance(law, Kaplan), f"{law.title} is no function of N and D"
    ratio = law.alpha_n / law.alpha_d
    return Hoffmann(E=0.0, A=law.Nc**ratio, B=law.Dc, alpha=ratio, beta=1.0)


def _log_params(law: Hoffmann, compute: Compute, log_c: float) -> float:
    """log N*, where α·A/N^α = β·B/D^β · (d log f / d log N), by Newton's method."""
    level = math.log(law.alpha * law.A) - math.log(law.beta * law.B)
    low, high = math.log(compute.low) - compute.about, math.log(compute.high) - compute.about
    x = (log_c - math.log(6)) / 2
    for _ in range(STEPS):
        inside = min(max(x - compute.about, low), high)
        cost, slope, bend = 0.0, 0.0, 0.0
        for coefficient in reversed(compute.coefficients):
            cost, slope, bend = cost * inside + coefficient, slope * inside + cost, bend * inside + 2 * slope
        cost += slope * (x - compute.about - inside)
        turn = bend / slope if low < inside < high else 0.0
        excess = level - law.alpha * x + law.beta * (log_c - cost) - math.log(slope)
        step = excess / (law.alpha + law.beta * slope + turn)
        x += step
        if abs(step) < NEAR * (1 + abs(x)):
            return x
    raise ValueError("the law has no best size")
