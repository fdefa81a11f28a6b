"""The course of training of some runs, as their files tell it: what is drawn, in a terminal or on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nanochat.core.errors import SpecError, nearest, spec_error
from nanochat.core.spec import TARGET, load
from nanochat.logger.csv import COLUMNS, read
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec
from nanochat.study.conditions import lookup
from nanochat.study.definition import differences

X = Literal["tokens", "seconds", "flops", "steps"]
Mark = Literal["line", "dots", "faint", "edge", "top"]

# A panel's title, and whether its axis is logarithmic; any other column of metrics.csv has its name for a title.
TITLES = {
    "loss": ("loss, nats per token", False),
    "grad_norm": ("gradient norm", True),
    "lr": ("learning rate", False),
    "logits": ("logits (valid)", False),
    "logit_entropy": ("entropy predicted, nats (valid)", False),
    "tokens_per_second": ("tokens per second", False),
}
X_TITLES = {"tokens": "tokens", "seconds": "seconds of training", "flops": "training FLOPs", "steps": "steps"}

# Columns of one group up to which each has a line; of more the lowest, the mean and the highest are drawn.
FEW = 4

AT_WORK, LEFT = "at work", "left off"


@dataclass(frozen=True)
class Series:
    """Points of one run in one panel. `mark`: a line; dots; faint, what the line smooths; the edge of a band; the top
    line above one."""

    name: str
    mark: Mark
    x: list[float]
    y: list[float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run. label: what it is called here · status: `at work`, `left off` where no process is on it and none ended
    it, else that of its result · rows: of its metrics.csv · run: what it is, in plain data, empty before its texts are
    prepared · reason: of its status."""

    key: str
    label: str
    status: str
    reason: str
    rows: Sequence[Mapping[str, Any]]
    run: Mapping[str, Any]

    @property
    def at_work(self) -> bool:
        return self.status == AT_WORK

    @property
    def tokens(self) -> int:
        """Trained on so far."""
        return self.rows[-1]["tokens"] if self.rows else 0

    @property
    def total(self) -> int | None:
        """Tokens of the whole run."""
        return self.run["stop"]["steps"] * self.run["batch"]["tokens"] if self.run else None

    @property
    def seconds_left(self) -> float | None:
        """At the pace of the last row; validations are not in it."""
        pace = self.last("tokens_per_second")
        return (self.total - self.tokens) / pace if self.at_work and self.total and pace else None

    def last(self, column: str) -> float | None:
        """The newest value of a column."""
        return next((row[column] for row in reversed(self.rows) if row.get(column) is not None), None)

    def points(self, column: str, *, x: X) -> tuple[list[float], list[float]]:
        """The finite values of a column, against `x`."""
        name = {"steps": "step", "flops": "tokens"}.get(x, x)
        scale = self.flops if x == "flops" else 1.0
        found = [
            (row[name] * scale, row[column])
            for row in self.rows
            if row.get(column) is not None and math.isfinite(row[column])
        ]
        return [a for a, _ in found], [b for _, b in found]

    @property
    def flops(self) -> float:
        """Training FLOPs per token. Raises `SpecError` where this code cannot read what the run is."""
        try:
            return load(self.run, RunSpec).training_cost.flops
        except SpecError:
            rule = f"run {self.key} was described by other code, which knows its FLOPs"
            raise spec_error("task.x", "flops", rule, "use task.x=tokens") from None


def read_curve(folder: RunFolder, *, label: str) -> Curve:
    """The run in `folder` as it stands."""
    # Whether somebody works on it is asked first: who ends in between has left its result by then.
    working = folder.is_locked()
    result, description = folder.result(), folder.description()
    status = AT_WORK if working else result["status"] if result else LEFT
    return Curve(
        key=folder.key,
        label=label,
        status=status,
        reason=result["reason"] if result and not working else "",
        rows=read(folder.metrics_file),
        run=description["run"] if description else {},
    )


def panels(wanted: Sequence[str], curves: Sequence[Curve]) -> list[str]:
    """What is to be drawn: panels and columns by their names, `parts` being all that the models' own parts report
    (`expert_share.0.1` and its like in one). Raises `SpecError` for what no run has."""
    rows = [row for curve in curves for row in curve.rows[:1]]
    parts = list(dict.fromkeys(group(name) for row in rows for name in row if name not in COLUMNS))
    known = [*TITLES, "parts", *COLUMNS, *parts]
    for name in wanted:
        if name not in known and rows:
            raise spec_error("task.panels", name, "is nothing that these runs report", nearest(name, known))
    found = [part for name in wanted for part in (parts if name == "parts" else [name])]
    return list(dict.fromkeys(found))


def group(column: str) -> str:
    """`expert_share` of `expert_share.0.1`."""
    return column.partition(".")[0]


def series(panel: str, curve: Curve, *, x: X, smooth: float) -> list[Series]:
    """What a panel shows of a run."""
    if panel == "loss":
        at, losses = curve.points("train_loss", x=x)
        raw = [Series("train, every row", "faint", at, losses)] if smooth else []
        line = Series(train_name(smooth), "line", at, averaged(losses, smooth))
        return [*raw, line, Series("valid", "dots", *curve.points("valid_loss", x=x))]
    if panel == "logits":
        at, mean = curve.points("logit_mean", x=x)
        _, sd = curve.points("logit_sd", x=x)
        low, high = ([m + sign * s for m, s in zip(mean, sd, strict=True)] for sign in (-1, 1))
        top = Series("largest", "top", *curve.points("logit_max", x=x))
        return [*band(at, low, high, names=("mean − sd", "mean + sd")), Series("mean", "line", at, mean), top]
    names = [name for name in (curve.rows[0] if curve.rows else ()) if panel in (name, group(name))]
    if len(names) <= FEW:
        return [Series(name, "line", *curve.points(name, x=x)) for name in names]
    found = [curve.points(name, x=x) for name in names]
    each = list(zip(*(y for _, y in found), strict=True)) if len({len(at) for at, _ in found}) == 1 else []
    at = found[0][0][: len(each)]
    middle = Series(f"mean of {len(names)}", "line", at, [sum(values) / len(values) for values in each])
    return [*band(at, list(map(min, each)), list(map(max, each)), names=("lowest", "highest")), middle]


def band(at: list[float], low: list[float], high: list[float], *, names: tuple[str, str]) -> list[Series]:
    """The two edges, the lower one first."""
    return [Series(names[0], "edge", at, low), Series(names[1], "edge", at, high)]


def train_name(smooth: float) -> str:
    """What the line of the training loss is called."""
    return f"train, averaged ({smooth:g})" if smooth else "train"


def averaged(values: Sequence[float], weight: float) -> list[float]:
    """The exponential moving average, each value so far weighted by `weight` to the power of its age, and the weights
    made to sum to one: the first values are not drawn towards zero."""
    found, total, weights = [], 0.0, 0.0
    for value in values:
        total, weights = weight * total + value, weight * weights + 1.0
        found.append(total / weights)
    return found


def differing(curves: Sequence[Curve]) -> dict[str, list[str]]:
    """The fields in which the runs differ, and each run's value; an option by its name."""
    described = [curve.run for curve in curves if curve.run]
    keys = list(dict.fromkeys(key for run in described[1:] for key, _, _ in differences(described[0], run)))
    # Fields of different options are no difference of their own.
    options = tuple(key.removesuffix(TARGET) for key in keys if key.endswith(TARGET))
    told = [key for key in keys if key.endswith(TARGET) or not key.startswith(options)]
    return {key.removesuffix(f".{TARGET}"): [_value(curve.run, key) for curve in curves] for key in told}


def _value(run: Mapping[str, Any], key: str) -> str:
    value = lookup(run, key)
    if key.endswith(TARGET) and isinstance(value, str):
        return value.split(".")[-2]
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
