"""The three approaches of Hoffmann et al. (2203.15556, section 3) side by side, and the bias of approach 2 here.

Approach 3, the fit, is the one to believe; the other two know nothing of its form and so can contradict it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanochat.law import envelope, isoflop
from nanochat.law.compute import SIX, Compute, LossLaw, frontier
from nanochat.law.hoffmann import Array
from nanochat.law.line import Line

# Fewer draws that gave a line say nothing of an interval.
FEWEST_DRAWS = 20


@dataclass(frozen=True)
class Told:
    """A quantity with its 95% interval, over runs drawn again; NaN where too few draws gave one."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Approach:
    """exponent: a of N* ∝ C^a · params, tokens: N* and D* at the compute asked for. None: `missing` says why."""

    name: str
    exponent: Told | None
    params: Told | None
    tokens: Told | None
    missing: str = ""


@dataclass(frozen=True)
class Bias:
    """What a method gets wrong without noise, at these sizes and budgets, if the fitted law is true. exponent: its a
    less the true one · tokens: its D* over the true one, less one. None where it refuses even then."""

    exponent: float | None
    tokens: float | None


@dataclass(frozen=True)
class Comparison:
    """compute: the FLOPs that N* and D* are told at · bias: of approach 2, by method."""

    compute: float
    approaches: tuple[Approach, ...]
    bias: Mapping[isoflop.Method, Bias]

    @property
    def disagree(self) -> tuple[str, ...]:
        """The approaches whose interval of a has nothing in common with that of the fit."""
        fitted = self.approaches[-1].exponent
        assert fitted is not None
        apart = (a for a in self.approaches[:-1] if a.exponent)
        return tuple(a.name for a in apart if a.exponent and not _overlap(a.exponent, fitted))


def compare(
    n: Array,
    d: Array,
    loss: Array,
    *,
    at: float,
    law: LossLaw,
    laws: Sequence[LossLaw],
    clusters: Sequence[object],
    count: int,
    seed: int,
    compute: Compute = SIX,
) -> Comparison:
    """All three at `at` FLOPs. `law` and `laws`: the fit, and the fits to runs drawn again; `count`: draws of the
    others."""
    c = compute.of(n, d)
    again: dict[str, Any] = {"clusters": clusters, "count": count, "seed": seed, "compute": compute}
    first = envelope.approach_1(n, d, loss, compute=compute)
    approaches = [
        _lines(
            "approach 1", (first.params_line, first.tokens_line), at=at, missing="fewer than three sizes ever win",
            draws=[(found.params_line, found.tokens_line) for found in envelope.drawn(n, d, loss, **again)],
        )
    ]  # fmt: skip
    for method in ("akima", "parabola"):
        found = isoflop.approach_2(n, c, loss, method=method, compute=compute)
        draws = isoflop.drawn(n, c, loss, method=method, **again)
        approaches.append(
            _lines(
                f"approach 2, {method}", (found.params, found.tokens), at=at, missing=_refusals(found),
                draws=[(one.params, one.tokens) for one in draws],
            )
        )  # fmt: skip
    approaches.append(_fitted(law, laws, compute=compute, at=at))
    methods: tuple[isoflop.Method, ...] = ("akima", "parabola")
    return Comparison(
        at, tuple(approaches), {m: bias(n, d, law=law, at=at, method=m, compute=compute) for m in methods}
    )


def bias(n: Array, d: Array, *, law: LossLaw, at: float, method: isoflop.Method, compute: Compute = SIX) -> Bias:
    """Approach 2 on the losses that `law` gives these runs, against the law's own answer at `at` FLOPs."""
    c = compute.of(n, d)
    found = isoflop.approach_2(n, c, np.asarray(law.loss(n, d)), method=method, compute=compute)
    if not found.params or not found.tokens:
        return Bias(None, None)
    true = frontier(law, compute, at)
    return Bias(found.params.slope - slope(law, compute=compute, at=at), found.tokens.at(at) / true.tokens - 1)


def slope(law: LossLaw, *, compute: Compute, at: float) -> float:
    """a at `at` FLOPs: d log N* / d log C, over a factor of ten about it."""
    low, high = (frontier(law, compute, at * factor).params for factor in (10**-0.5, 10**0.5))
    return float(np.log10(high / low))


def _fitted(law: LossLaw, laws: Sequence[LossLaw], *, compute: Compute, at: float) -> Approach:
    def told(value: Callable[[LossLaw], float]) -> Told:
        return _told(value(law), [value(other) for other in laws])

    return Approach(
        "approach 3",
        told(lambda one: slope(one, compute=compute, at=at)),
        told(lambda one: frontier(one, compute, at).params),
        told(lambda one: frontier(one, compute, at).tokens),
    )


def _lines(
    name: str,
    lines: tuple[Line | None, Line | None],
    *,
    at: float,
    missing: str,
    draws: Sequence[tuple[Line | None, Line | None]],
) -> Approach:
    params, tokens = lines
    if params is None or tokens is None:
        return Approach(name, None, None, None, missing)
    drawn = [pair for pair in draws if pair[0] and pair[1]]
    return Approach(
        name,
        _told(params.slope, [one.slope for one, _ in drawn if one]),
        _told(params.at(at), [one.at(at) for one, _ in drawn if one]),
        _told(tokens.at(at), [one.at(at) for _, one in drawn if one]),
    )


def _told(value: float, drawn: Sequence[float]) -> Told:
    if len(drawn) < FEWEST_DRAWS:
        return Told(value, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Told(value, float(low), float(high))


def _overlap(one: Told, other: Told) -> bool:
    """Also true where either has no interval."""
    return not (one.low > other.high or other.low > one.high)


def _refusals(found: isoflop.IsoFlop) -> str:
    told = "; ".join(dict.fromkeys(isoflop.REASONS[refused.reason] for refused in found.refused))
    return f"fewer than two budgets count ({told})" if told else "fewer than two budgets"
