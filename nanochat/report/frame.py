"""A study as its files in the lab notebook tell it: definition, rows, curves, scores, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nanochat.core.errors import MachineError
from nanochat.report.evidence import earlier
from nanochat.report.notebook import AGAIN, CURVES, EVIDENCE, SCORES, Columns, read_by_key
from nanochat.study import table
from nanochat.study.definition import Definition, read_definition
from nanochat.study.judge import scales_of


@dataclass(frozen=True)
class Frame:
    """rows: of results.csv · curves, scores: by key of the run · evidence: see `report/evidence.py`, {} where there is
    none · missing: files that are not there, and what cannot be shown without them."""

    definition: Definition
    rows: Sequence[table.Row]
    curves: Mapping[str, Columns] = field(default_factory=dict)
    scores: Mapping[str, Columns] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.definition.name

    @cached_property
    def arms(self) -> list[str]:
        return [arm.name for arm in self.definition.arms]

    @cached_property
    def names(self) -> list[str]:
        """The arms without their scales."""
        return list(dict.fromkeys(arm.alone for arm in self.definition.arms))

    @cached_property
    def scales(self) -> list[str]:
        return scales_of(self.definition)

    @property
    def axes(self) -> list[str]:
        return table.axis_keys(self.definition.arms)

    @cached_property
    def results(self) -> dict[str, table.ArmResult]:
        """What is known of each arm, by name."""
        return {result.name: result for result in table.arm_results(self.definition, self.rows)}

    @property
    def at_edge(self) -> bool:
        return any(result.edges for result in self.results.values())

    @cached_property
    def front(self) -> list[table.Point]:
        """The best trade-offs of the study's objectives."""
        return table.trade_offs(self.definition, self.rows)

    @cached_property
    def test_scores(self) -> dict[tuple[str, int], float]:
        """Test bits per byte of complete confirming runs, by arm and seed."""
        return {(row["arm"], row["seed"]): row["test_bpb"] for row in self.complete("seed")}

    def complete(self, phase: str) -> list[table.Row]:
        """The rows of complete runs of one phase."""
        return [row for row in self.rows if row["phase"] == phase and row["status"] == "complete"]

    def confirming(self, arm: str) -> list[table.Row]:
        """The complete runs of an arm on the listed seeds."""
        return [row for row in self.complete("seed") if row["arm"] == arm]

    def tuning(self, arm: str) -> list[table.Row]:
        """All tuning trials of an arm."""
        return [row for row in self.rows if row["arm"] == arm and row["phase"] == "tune"]

    @property
    def tokenizers(self) -> int:
        """How many different ways of cutting texts into training sequences there are among the arms."""
        keys = ("tokenizer", "context", "batch")
        return len({str([run.get(key) for key in keys]) for run in self.definition.runs.values()})


def read_frame(folder: Path) -> Frame:
    """Read a study's folder in the notebook. Raises `SpecError` for a definition of another version."""
    definition = read_definition(folder)
    wanted = {
        table.FILE: "no run can be shown",
        CURVES: "there are no learning curves",
        SCORES: "there is nothing by document, position, frequency or confidence",
        EVIDENCE: "there are no samples, and it is not said where the numbers come from",
    }
    if definition.design is not None:
        del wanted[SCORES]
    missing = [f"{name} is missing: {lacks}" for name, lacks in wanted.items() if not (folder / name).exists()]
    evidence = earlier(folder / EVIDENCE)
    if not evidence and (folder / EVIDENCE).exists():
        missing.append(f"{EVIDENCE} was written by another version: {wanted[EVIDENCE]}")
    return Frame(
        definition=definition,
        rows=_rows(folder / table.FILE, definition),
        curves=read_by_key(folder / CURVES),
        scores=read_by_key(folder / SCORES),
        evidence=evidence,
        missing=missing,
    )


def _rows(path: Path, definition: Definition) -> list[table.Row]:
    """The rows of the file in the table's own order, whatever theirs; [] where there is none."""
    if not path.exists():
        return []
    places = {arm.name: place for place, arm in enumerate(definition.arms)}
    try:
        found = table.read_csv(path, definition)
        return sorted(found, key=lambda row: (places[row["arm"]], row["phase"] != "tune", row["number"]))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise MachineError(f"{path}: cannot be read ({error}); {AGAIN}") from error


def number_text(value: float | None, digits: int = 4) -> str:
    """A number for a table, a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def param_text(value: Any) -> str:
    """A tuned value for a table."""
    return f"{value:.3g}" if isinstance(value, float) else "–" if value is None else str(value)
