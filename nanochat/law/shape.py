"""The parts of a record that only a law of parameters and tokens has: best shapes, and what else tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nanochat.law import envelope, isoflop
from nanochat.law.approaches import Approach, Comparison, Told, compare
from nanochat.law.asked import LEVELS, Asked
from nanochat.law.bands import shapes, told
from nanochat.law.compute import frontier as best
from nanochat.law.form import Array
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.plain import plain
from nanochat.law.sensitivity import Choice, influences, sensitivity

# Of approach 1's envelope so many points are kept, for drawing.
ENVELOPE = 40


def answers(asked: Asked) -> dict[str, Any]:
    """The best shape at the target, with both kinds of interval."""
    params, tokens, loss = (table[:, 1] for table in (asked.near.params, asked.near.tokens, asked.near.loss))
    columns = {"params": params, "tokens": tokens, "tokens_per_param": tokens / params, "loss": loss}
    ends = _profiles(asked)
    return {
        name: {**plain(told(float(column[0]), column[1:])), "profile": ends[name]} for name, column in columns.items()
    }


def _profiles(asked: Asked) -> dict[str, list[float | None]]:
    """Intervals of the answers by profile. At one compute the tokens follow from the parameters, larger from fewer."""

    def tokens(params: float | None) -> float | None:
        return None if params is None else asked.at / float(asked.compute.per_token(params))

    params = asked.profile(lambda law: best(law, asked.compute, asked.at).params)
    loss = asked.profile(lambda law: best(law, asked.compute, asked.at).loss)
    ends = [params.low, params.high]
    lengths = [tokens(end) for end in reversed(ends)]
    ratios = [None if d is None or n is None else d / n for d, n in zip(lengths, reversed(ends), strict=True)]
    return {"params": ends, "tokens": lengths, "tokens_per_param": ratios, "loss": [loss.low, loss.high]}


def frontier(asked: Asked) -> list[dict[str, float]]:
    """The best shape at each level, with bands."""
    c = asked.points.c
    levels = np.geomspace(float(np.min(c)), max(asked.at, float(np.max(c))), LEVELS)
    tables = shapes([asked.law, *asked.laws], asked.compute, levels)
    found = []
    for i, level in enumerate(levels.tolist()):
        row: dict[str, float] = {"c": level}
        for name in ("params", "tokens", "loss"):
            column = getattr(tables, name)[:, i]
            number = told(float(column[0]), column[1:])
            row |= {name: number.value, f"{name}_low": number.low, f"{name}_high": number.high}
        found.append(plain(row))
    return found


def comparison(asked: Asked) -> Comparison:
    """The three approaches at the target."""
    points = asked.points
    return compare(
        points.n, points.d, points.loss,
        at=asked.at, law=asked.law, laws=asked.kept, clusters=points.clusters,  # pyright: ignore[reportArgumentType]
        count=asked.resamples, seed=asked.seed, compute=asked.compute,
    )  # fmt: skip


def approaches(asked: Asked, compared: Comparison) -> list[dict[str, Any]]:
    """Each approach's answers, and the minima behind them."""
    points, compute = asked.points, asked.compute
    first = envelope.approach_1(points.n, points.d, points.loss, compute=compute)
    few = np.unique(np.linspace(0, len(first.compute) - 1, ENVELOPE).astype(int)) if len(first.compute) else []
    minima = [
        {"c": c, "params": n, "tokens": c / float(compute.per_token(n)), "loss": loss}
        for c, n, loss in ((float(first.compute[i]), float(first.params[i]), float(first.loss[i])) for i in few)
    ]
    one, akima, parabola, fitted = compared.approaches
    found = [_approach(one, "envelope", minima, [])]
    methods: tuple[tuple[Approach, isoflop.Method], ...] = ((akima, "akima"), (parabola, "parabola"))
    for approach, method in methods:
        flops = compute.of(points.n, points.d)
        own = isoflop.approach_2(points.n, flops, points.loss, method=method, compute=compute)
        lowest = [{"c": m.compute, "params": m.params, "tokens": m.tokens, "loss": m.loss} for m in own.minima]
        refused = [{"c": r.compute, "code": r.reason, "text": isoflop.REASONS[r.reason]} for r in own.refused]
        found.append(_approach(approach, method, lowest, refused))
    return [*found, _approach(fitted, "fit", [], [])]


def sensitivities(asked: Asked, sizes: Mapping[str, Array]) -> list[dict[str, Any]]:
    """The law by every choice of whoever fits. `sizes`: the same models by other definitions of N."""
    points = asked.points
    rows = sensitivity(
        {"params": points.n, **sizes}, points.d, points.loss,
        at=asked.at, costs={"measured": asked.compute} if points.measured else None,
    )  # fmt: skip
    return [
        {
            "choice": _choice(row.choice, several=bool(sizes), costs=points.measured),
            "alpha": row.alpha, "beta": row.beta, "E": row.E, "a": row.exponent, "params": row.params, "loss": row.loss,
        }
        for row in rows
    ]  # fmt: skip


def influential(asked: Asked) -> list[dict[str, Any]]:
    """How far the answer moves, in its standard errors, without each run."""
    points, laws = asked.points, [law for law in asked.laws if isinstance(law, Hoffmann)]
    assert isinstance(asked.law, Hoffmann)
    found = influences(
        points.n, points.d, points.loss,
        law=asked.law, laws=laws, clusters=points.clusters, at=asked.at, options=asked.options,
    )  # fmt: skip
    return plain(found)


def _approach(
    found: Approach, method: str, minima: Sequence[Mapping[str, float]], refused: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    numbers: dict[str, Told | None] = {"a": found.exponent, "params": found.params, "tokens": found.tokens}
    name = found.name.partition(",")[0]
    return {
        "name": name, "method": method, **plain(numbers),
        "minima": plain(minima), "refused": plain(refused), "missing": found.missing,
    }  # fmt: skip


def _choice(choice: Choice, *, several: bool, costs: bool) -> str:
    """In words, what differs first."""
    delta = "least squares" if np.isinf(choice.delta) else f"Huber {choice.delta:g}"
    parts = [delta, "log loss" if choice.on == "log" else "raw loss", "" if choice.outliers else "without outliers"]
    parts += [f"N = {choice.n}" if several else "", f"C = {choice.c}" if costs else ""]
    return ", ".join(part for part in parts if part)
