"""The record of a law: a fit, how sure it is, what it answers and what contradicts it, as plain data for files.

Pages and tables draw it and `recorded.read` reads it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from nanochat.core.progress import track
from nanochat.law import shape
from nanochat.law.approaches import Comparison
from nanochat.law.asked import Asked, inputs_of
from nanochat.law.bands import told
from nanochat.law.bootstrap import resampled
from nanochat.law.checks import insist, of_comparison, of_places
from nanochat.law.compute import SIX, measured
from nanochat.law.compute_only import ComputeOnly
from nanochat.law.concerns import concerns, of_number
from nanochat.law.fit import Options, fit
from nanochat.law.form import Array, Law
from nanochat.law.forms import of_shape
from nanochat.law.heldout import held_out
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.plain import plain
from nanochat.law.rows import rows
from nanochat.law.table import Points

SCHEMA = 1

# Without a target the law answers for so many times the largest compute that it was fitted to.
FURTHER = 10.0

# Held out in turn: no more than so large a share of the rows.
HELD_OUT = 0.6

DEFINITIONS = {"n": "parameters", "d": "training tokens", "c": "6ND", "loss": "loss"}


def tell(
    points: Points,
    *,
    at: float | None = None,
    form: type[Law] = Hoffmann,
    options: Options | None = None,
    resamples: int = 400,
    seed: int = 0,
    compute: Literal["six", "measured"] = "six",
    definitions: Mapping[str, str] | None = None,
    sizes: Mapping[str, Array] | None = None,
) -> dict[str, Any]:
    """The record of a form's law of these rows, without its provenance, which is the caller's.

    at: FLOPs to answer for, None: ten times the largest run · definitions: what n, d, c and loss are, in words · sizes:
    the same models by other definitions of N, by name, to show how much that choice matters. Raises `SpecError` for
    rows from which no law can be read.
    """
    options = options or Options()
    if of_shape(form):
        insist(of_places(points.n, points.d), key="task.data", value=None)
    insist(of_number(points, form), key="task.data", value=None)
    cost = measured(points.n, points.c, points.d) if compute == "measured" else SIX
    found = fit(form, inputs_of(points), points.loss, options=options)
    laws = resampled(
        inputs_of(points), points.loss,
        clusters=points.clusters, near=found.law, count=resamples, seed=seed, options=options,
    )  # fmt: skip
    asked = Asked(points, form, options, found, laws, cost, at or _further(points), resamples, seed)
    record = _head(asked, {**DEFINITIONS, **_cost(asked), **(definitions or {})})
    parts = _parts(asked, sizes or {})
    for name, value in track(_made(parts, record), total=len(parts), label="telling the law"):
        record[name] = value
    return {**record, "provenance": {}}


def _parts(asked: Asked, sizes: Mapping[str, Array]) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
    """What takes time, by name, in order; each may look at what was told before."""
    nothing: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "told": lambda _: plain(asked.intervals),
        "certificate": lambda _: _certificate(asked),
        "answers": lambda _: _loss(asked) if asked.form is ComputeOnly else {},
        "frontier": lambda _: [],
        "approaches": lambda _: [],
        "bias": lambda _: None,
        "disagree": lambda _: [],
        "held_out": lambda _: _held_out(asked),
        "sensitivity": lambda _: [],
        "influences": lambda _: [],
    }
    if not of_shape(asked.form) or not asked.near.whole[0]:
        return {**nothing, "findings": lambda record: plain(concerns(asked, record, None))}
    compared: list[Comparison] = []

    def comparison() -> Comparison:
        if not compared:
            compared.append(shape.comparison(asked))
        return compared[0]

    hoffmann = asked.form is Hoffmann
    return {
        **nothing,
        "answers": lambda _: shape.answers(asked),
        "frontier": lambda _: shape.frontier(asked),
        "approaches": lambda _: shape.approaches(asked, comparison()),
        "bias": lambda _: plain(comparison().bias),
        "disagree": lambda _: [finding.text for finding in of_comparison(comparison())],
        "sensitivity": (lambda _: shape.sensitivities(asked, sizes)) if hoffmann else nothing["sensitivity"],
        "influences": (lambda _: shape.influential(asked)) if hoffmann else nothing["influences"],
        "findings": lambda record: plain(concerns(asked, record, comparison())),
    }


def _made(
    parts: Mapping[str, Callable[[Mapping[str, Any]], Any]], record: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for name, part in parts.items():
        yield name, part(record)


def _head(asked: Asked, definitions: Mapping[str, str]) -> dict[str, Any]:
    form, points, options = asked.form, asked.points, asked.options
    return {
        "schema": SCHEMA,
        "form": {
            "title": form.title, "equation": form.equation, "source": form.source, "parameters": list(form.names()),
        },
        "definitions": dict(definitions),
        "options": {
            "delta": plain(options.delta), "on": options.on,
            "weights": None if options.weights is None else "a weight for each row",
        },
        "rows": rows(asked),
        "excluded": dict(points.excluded),
        "law": {name: getattr(asked.law, name) for name in form.names()},
        "laws": [[getattr(law, name) for name in form.names()] for law in asked.laws],
        "interval": {
            "method": "percentiles of the fits to runs drawn again", "level": 0.95,
            "count": len(asked.laws), "clusters": len(set(points.clusters)), "seed": asked.seed,
        },
        "objective": asked.found.objective,
        "at": asked.at if of_shape(form) or form is ComputeOnly else None,
        "compute": plain(asked.compute),
    }  # fmt: skip


def _certificate(asked: Asked) -> dict[str, Any]:
    """With the numbers that a profile leaves open."""
    ridge = []
    for name in asked.form.names():
        known = asked.intervals.get(name)
        ends = known["profile"] if known else _ends(asked, name)
        if isinstance(ends, list) and None in ends:
            ridge.append(name)
    return plain(replace(asked.found.certificate, ridge=tuple(ridge)))


def _ends(asked: Asked, name: str) -> list[float | None]:
    ends = asked.profile(lambda law: float(getattr(law, name)))
    return [ends.low, ends.high]


def _held_out(asked: Asked) -> list[dict[str, Any]]:
    """The error on the largest budgets, by how far they lie beyond the rest."""
    points, count = asked.points, len(asked.points.loss)
    if not np.isfinite(points.c).all():
        return []

    def enough(kept: np.ndarray) -> bool:
        tells = points.enough(kept) if of_shape(asked.form) else True
        return tells and float(kept.sum()) >= (1 - HELD_OUT) * count

    return plain(
        held_out(asked.form, asked.inputs, points.loss, compute=points.c, enough=enough, options=asked.options)
    )


def _loss(asked: Asked) -> dict[str, Any]:
    """All that a law of compute alone answers."""
    loss = [float(law.loss(asked.at)) for law in (asked.law, *asked.laws)]
    return {"loss": plain(told(loss[0], loss[1:]))}


def _further(points: Points) -> float:
    """A target where none is asked for."""
    return FURTHER * float(np.max(points.c)) if np.isfinite(points.c).all() else 1.0


def _cost(asked: Asked) -> dict[str, str]:
    """What C is, in words."""
    if asked.compute == SIX:
        return {"c": "6ND"}
    within = f"within {asked.compute.residual:.1%}"
    return {"c": f"measured: exact training FLOPs per token as a function of N, {within}"}
