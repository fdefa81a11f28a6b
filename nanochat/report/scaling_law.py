"""The record of the law of an arm's points, or of why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanochat.core.errors import SpecError
from nanochat.law.checks import of_places
from nanochat.law.form import Array
from nanochat.law.plain import plain
from nanochat.law.record import SCHEMA, tell
from nanochat.law.table import Points

Record = Mapping[str, Any]

# Laws fitted to runs drawn again; what they are drawn by.
RESAMPLES, SEED = 400, 0

DEFINITIONS = {
    "n": "all parameters, embedding and head included",
    "d": "training tokens of the run and of what it went on from",
    "loss": "bits per byte on the test documents, at the end of the decay",
}


def record(points: Points, *, at: float, bodies: Array) -> Record:
    """At `at` FLOPs; `bodies`: parameters without embedding and head, the other definition of N.

    Where the points tell no law, `law` is None, and the findings say why.
    """
    refused = of_places(points.n, points.d) if len(points.n) else []
    if refused or not len(points.n):
        return _unfitted(points, plain(refused), at=at)
    try:
        return tell(
            points,
            at=at,
            compute="measured",
            resamples=RESAMPLES,
            seed=SEED,
            definitions=DEFINITIONS,
            sizes={"params without embedding and head": bodies},
        )
    except SpecError as error:
        text = "; ".join(problem.rule for problem in error.problems)
        return _unfitted(points, [{"code": "no_law", "severity": "refuse", "text": text, "remedy": ""}], at=at)


def _unfitted(points: Points, findings: Sequence[Mapping[str, Any]], *, at: float) -> Record:
    columns = zip(*(getattr(points, key).tolist() for key in ("n", "d", "c", "loss")), points.clusters, strict=True)
    return {
        "schema": SCHEMA,
        "at": at,
        "definitions": DEFINITIONS,
        "law": None,
        "rows": [dict(zip(("n", "d", "c", "loss", "cluster"), row, strict=True)) for row in columns],
        "excluded": dict(points.excluded),
        "findings": list(findings),
    }
