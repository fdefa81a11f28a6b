"""What a study found: `results.csv`, a row for each run, and what the rows come to for each arm."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanochat.core.compose import Choice, Interval
from nanochat.stats.pareto import front
from nanochat.study.axes import Arm, Axis
from nanochat.study.definition import Definition
from nanochat.study.trial import Trial

FILE = "results.csv"

# arm · phase: tune | seed | point · number: of the tuning trial (below zero: taken over from an earlier search), of the
# seed in order, or of the point · the searched keys · status and reason · tokens: trained, or at which the trial was
# given up · valid_bpb, test_bpb: bits per byte · valid_loss, loss: nats per token on valid and test documents · params,
# active_params, state_bytes: of the model, non_embedding_params without embedding and head · flops: of a whole run of
# these tokens, flops_spent: of the steps that this one trained itself, start: key of the run that it went on from ·
# key: of the run · seconds: of training, the one column that is never the same twice. None where a run has no such
# number; a pruned trial's valid_bpb is its last one.
Row = dict[str, Any]

# How each column is read back from text; the searched keys stand between the two.
HEAD = {"arm": str, "phase": str, "number": int, "seed": int}
TAIL = {
    "status": str,
    "reason": str,
    "tokens": int,
    "valid_bpb": float,
    "valid_loss": float,
    "test_bpb": float,
    "loss": float,
    "params": float,
    "active_params": float,
    "flops": float,
    "flops_spent": float,
    "non_embedding_params": float,
    "start": str,
    "state_bytes": float,
    "key": str,
    "seconds": float,
}

# A best value nearer than this share of the range to one of its ends may have its optimum beyond.
EDGE = 0.05


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What is known of one arm.

    best: its tuned values · edges: keys among them whose value lies at an end of its range · scores: test bits per
    byte on each seed in order, None where the run failed or is not there yet.
    """

    name: str
    best: dict[str, Any]
    edges: tuple[str, ...]
    scores: tuple[float | None, ...]

    @property
    def finite(self) -> list[float]:
        """The scores of complete runs."""
        return [score for score in self.scores if score is not None]

    @property
    def mean(self) -> float | None:
        """Mean test bits per byte over complete runs."""
        return float(np.mean(self.finite)) if self.finite else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds; None below two."""
        return float(np.std(self.finite, ddof=1)) if len(self.finite) > 1 else None


def rows(trials: Sequence[Trial]) -> list[Row]:
    """The finished trials as rows, in the order of the table."""
    found = []
    for trial in trials:
        if trial.result is not None:
            head = {"arm": trial.arm, "phase": trial.phase, "number": trial.number, "seed": trial.seed}
            found.append({**head, **trial.params, **{name: trial.result.get(name) for name in TAIL}})
    return found


def axis_keys(arms: Sequence[Arm]) -> list[str]:
    """Every key that some arm searches, in order."""
    return list(dict.fromkeys(axis.key for arm in arms for axis in arm.axes))


def csv_text(found: Sequence[Row], definition: Definition) -> str:
    """The text of `results.csv`: floats in full precision, nothing where there is no value."""
    columns = [*HEAD, *axis_keys(definition.arms), *TAIL]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(name) for name in columns] for row in found)
    return text.getvalue()


def read_csv(path: Path, definition: Definition) -> list[Row]:
    """The rows in `results.csv`; `read_csv` of `csv_text` gives the same rows, None under keys an arm lacks."""
    axes = {(arm.name, axis.key): axis for arm in definition.arms for axis in arm.axes}
    keys = axis_keys(definition.arms)
    with path.open(newline="", encoding="utf-8") as file:
        return [_typed(row, keys=keys, axes=axes) for row in csv.DictReader(file)]


def arm_results(definition: Definition, found: Sequence[Row]) -> list[ArmResult]:
    """One result for each arm, in order."""
    scores = {
        (row["arm"], row["seed"]): row["test_bpb"]
        for row in found
        if row["phase"] == "seed" and row["status"] == "complete"
    }
    table = [tuple(scores.get((arm.name, seed)) for seed in definition.seeds) for arm in definition.arms]
    return [
        ArmResult(name=arm.name, best=best, edges=_edges(arm, best), scores=arm_scores)
        for arm, arm_scores in zip(definition.arms, table, strict=True)
        for best in [_best(arm, found, definition.objectives[0])]
    ]


@dataclass(frozen=True)
class Point:
    """A run among the best trade-offs: its label, and its objectives in the study's order."""

    label: str
    values: tuple[float, ...]


def trade_offs(definition: Definition, found: Sequence[Row]) -> list[Point]:
    """The Pareto front of the study's objectives, best first by the first one.

    Over all tuning trials, or, where nothing was tuned, over the confirming runs.
    """
    complete = [row for row in found if row["status"] == "complete"]
    tuned = [row for row in complete if row["phase"] == "tune"]
    columns = [tuning_column(name) for name in definition.objectives]
    points = [
        Point(f"{row['arm']} {row['phase']} {row['number' if tuned else 'seed']}", tuple(row[c] for c in columns))
        for row in tuned or complete
    ]
    return sorted((points[i] for i in front([point.values for point in points])), key=lambda point: point.values)


def at_edge(axis: Axis, value: Any) -> bool:
    """Whether a value lies within 5% of an end of its range, on the log scale of a log range."""
    domain = axis.domain
    if not isinstance(domain, Interval):
        return False
    scale = math.log if domain.log else float
    share = (scale(value) - scale(domain.low)) / (scale(domain.high) - scale(domain.low))
    return not EDGE <= share <= 1 - EDGE


def tuning_column(objective: str) -> str:
    """The column by which tuning trials are judged: scores of the valid documents, never the test ones."""
    return {"bpb": "valid_bpb", "loss": "valid_loss"}.get(objective, objective)


def _best(arm: Arm, found: Sequence[Row], objective: str) -> dict[str, Any]:
    """The values that won the arm's tuning; of equals the lower number."""
    tuned = [row for row in found if (row["arm"], row["phase"], row["status"]) == (arm.name, "tune", "complete")]
    if not tuned:
        return {}
    best = min(tuned, key=lambda row: (row[tuning_column(objective)], row["number"]))
    return {axis.key: best[axis.key] for axis in arm.axes if best.get(axis.key) is not None}


def _edges(arm: Arm, best: dict[str, Any]) -> tuple[str, ...]:
    return tuple(axis.key for axis in arm.axes if axis.key in best and at_edge(axis, best[axis.key]))


def _typed(row: dict[str, str], *, keys: Sequence[str], axes: dict[tuple[str, str], Axis]) -> Row:
    typed: Row = {}
    for name, text in row.items():
        kind = {**HEAD, **TAIL}.get(name)
        if kind is None and name in keys:
            axis = axes.get((row["arm"], name))
            kind = str if axis is None or isinstance(axis.domain, Choice) else int if axis.domain.integer else float
        assert kind is not None, f"{FILE} has no column {name}"
        typed[name] = kind(text) if text != "" or name == "reason" else None
    return typed
