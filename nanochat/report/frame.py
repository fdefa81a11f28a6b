"""A study as its files tell it: definition, rows, curves, and what they come to in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nanochat.logger.csv import FILE as METRICS
from nanochat.logger.csv import read
from nanochat.run.folder import RunFolder
from nanochat.run.spec import Settings
from nanochat.stats.paired import FEWEST_SEEDS
from nanochat.study import table
from nanochat.study.definition import Definition, read_definition


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of the results, with the run's curve (rows of its metrics.csv)."""

    arm: str
    phase: str
    number: int
    seed: int
    params: dict[str, Any]
    status: str
    tokens: int | None
    valid_bpb: float | None
    test_bpb: float | None
    key: str
    reason: str
    seconds: float | None
    curve: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Frame:
    """A study for tables, figures and pages; everything is read from files of the study and of its runs."""

    definition: Definition
    runs: Sequence[Run]
    results: Sequence[table.ArmResult]
    described: dict[str, Any] | None
    finished: dict[str, Any] | None
    rows: Sequence[table.Row]
    front: Sequence[table.Point]

    @property
    def name(self) -> str:
        return self.definition.name

    @cached_property
    def arms(self) -> list[str]:
        return [arm.name for arm in self.definition.arms]

    @property
    def axes(self) -> list[str]:
        return table.axis_keys(self.definition.arms)

    @property
    def at_edge(self) -> bool:
        return any(result.edges for result in self.results)

    def confirming(self, arm: str) -> list[Run]:
        """The arm's runs on the listed seeds."""
        return [run for run in self.runs if run.arm == arm and run.phase == "seed"]

    def tuning(self, arm: str) -> list[Run]:
        """The arm's tuning trials."""
        return [run for run in self.runs if run.arm == arm and run.phase == "tune"]

    @property
    def leader(self) -> table.ArmResult | None:
        """The arm that the others are compared with."""
        return next((r for r in self.results if r.verdict.difference is None and r.mean is not None), None)

    @property
    def question(self) -> str:
        """What the study asks, in a sentence."""
        arms = "; ".join(self.arms)
        seeds = ", ".join(map(str, self.definition.seeds))
        tuned = f", each tuned over {' and '.join(self.axes)}" if self.axes else ""
        plural = "s" if len(self.definition.seeds) > 1 else ""
        if len(self.arms) == 1:
            return f"How good is {arms}{tuned}, on seed{plural} {seeds}?"
        return f"Which is best: {arms}? Compared{tuned}, on seed{plural} {seeds}."

    @property
    def verdict(self) -> str:
        """What the evidence allows to be said, in words."""
        leader = self.leader
        if leader is None:
            return "No result: no confirming run is complete."
        head = f"{leader.name} scores {leader.mean:.4f} bits per byte on the test documents"
        if len(self.arms) == 1:
            return head + "."
        seeds = min((len(result.finite) for result in self.results if result.finite), default=0)
        if seeds < FEWEST_SEEDS:
            few = f"{seeds} seed{'s' if seeds != 1 else ''}"
            rule = f"{few} cannot tell the arms apart, {FEWEST_SEEDS} are the least that can"
            return f"Undecided: {rule}. Lowest mean so far: {head}."
        worse = [result.name for result in self.results if result.verdict.word == "worse"]
        open_ = [result.name for result in self.results if result.verdict.word == "undecided" and result is not leader]
        if not open_:
            return f"{leader.name} is best: {head}, and every other arm is worse."
        left = f"undecided against {'; '.join(open_)}" + (f"; better than {'; '.join(worse)}" if worse else "")
        return f"Lowest mean: {head}; {left}."


def read_frame(folder: Path, *, settings: Settings) -> Frame:
    """Read the study in `folder`, and the runs that it refers to."""
    definition = read_definition(folder)
    rows = table.read_csv(folder / table.FILE, definition)
    keys = table.axis_keys(definition.arms)
    runs = [_run(row, keys=keys, settings=settings) for row in rows]
    first = next((run.key for run in runs if run.status == "complete" and run.phase == "seed"), None)
    source = RunFolder(settings.paths.runs / first) if first else None
    return Frame(
        definition=definition,
        runs=runs,
        results=table.arm_results(definition, rows),
        described=source.description() if source else None,
        finished=source.result() if source else None,
        rows=rows,
        front=table.trade_offs(definition, rows),
    )


def _run(row: table.Row, *, keys: Sequence[str], settings: Settings) -> Run:
    names = ("arm", "phase", "number", "seed", "status", "tokens", "valid_bpb", "test_bpb", "key", "reason", "seconds")
    params = {key: row[key] for key in keys if row[key] is not None}
    curve = read(settings.paths.runs / row["key"] / METRICS) if row["key"] else []
    return Run(**{name: row[name] for name in names}, params=params, curve=curve)


def number_text(value: float | None, digits: int = 4) -> str:
    """A number for a table, a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def param_text(value: Any) -> str:
    """A tuned value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else "–" if value is None else str(value)


def difference_text(result: table.ArmResult) -> str:
    """The difference to the leader with its interval, where there is one."""
    gap = result.verdict.difference
    if gap is None:
        return "–"
    interval = f" [{gap.low:+.4f}, {gap.high:+.4f}]" if gap.low is not None and gap.high is not None else ""
    return f"{gap.mean:+.4f}{interval}"
