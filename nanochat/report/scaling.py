"""What a scaling study comes to: a law for each arm, what they answer at the target, and what it all cost."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nanochat.core.errors import MachineError
from nanochat.law import recorded
from nanochat.law.crossings import crossings
from nanochat.law.plain import plain
from nanochat.law.table import Points
from nanochat.report.frame import Frame
from nanochat.report.scaling_law import Record, record
from nanochat.report.shapes import answer
from nanochat.study.answer import rate_laws
from nanochat.study.design import Design, Size, alone, families
from nanochat.study.rates import RateLaw
from nanochat.study.table import Row

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class SizeRow:
    """Mean test bits per byte of one size, by level; best: the levels at which it is the lowest."""

    name: str
    params: int
    cells: Mapping[int, float]
    best: frozenset[int]


@dataclass(frozen=True)
class Scaling:
    """A scaling study's frame, and what follows from it."""

    frame: Frame

    @cached_property
    def design(self) -> Design:
        assert self.frame.definition.design is not None, "a scaling study"
        return self.frame.definition.design

    @property
    def target(self) -> float:
        """FLOPs that the study answers for."""
        return self.design.answer_for

    @cached_property
    def names(self) -> list[str]:
        """The arms, at whatever size."""
        return list(families(self.design))

    @property
    def entropy(self) -> float | None:
        """Of the corpus, in bits per byte, where it is known by construction."""
        arms = [arm for arm in self.frame.evidence.get("arms", {}).values() if arm]
        return arms[0]["reference"]["entropy_bpb"] if arms else None

    def rows(self, name: str, phase: str) -> list[Row]:
        """The rows of an arm at every size, in one order whatever the table's."""
        found = [row for row in self.frame.rows if row["phase"] == phase and alone(row["arm"]) == name]
        return sorted(found, key=lambda row: (row["params"] or 0.0, row["number"]))

    def points(self, name: str) -> list[Row]:
        """Its complete points, to which the law is fitted."""
        return [row for row in self.rows(name, "point") if row["status"] == "complete"]

    def level(self, row: Row) -> int:
        """The level of compute that a point is of."""
        return round(math.log(row["flops"] / self.design.least) / math.log(self.design.growth))

    def label(self, name: str) -> str:
        """What an arm is called in a sentence."""
        return name if len(self.names) > 1 else "the model"

    def size(self, row: Row) -> str:
        """The name of its size."""
        return self.frame.definition.arm(row["arm"]).scale

    def sizes(self, name: str) -> Sequence[Size]:
        return families(self.design)[name]

    @cached_property
    def told(self) -> dict[str, Record]:
        """Of each arm the record of its law, or, where its points tell none, its rows and why, among the findings."""
        return {name: self._record(name) for name in self.names}

    @property
    def records(self) -> dict[str, Record]:
        """Of the arms that have a law."""
        return {name: record for name, record in self.told.items() if record["law"]}

    @property
    def unfitted(self) -> dict[str, Record]:
        """Of the arms that have none."""
        return {name: record for name, record in self.told.items() if not record["law"]}

    @cached_property
    def crossings(self) -> list[dict[str, Any]]:
        """Where the laws of two arms cross, and who is the better at the target."""
        return crossings({name: recorded.Record.of(record) for name, record in self.records.items()})

    @cached_property
    def rates(self) -> dict[str, RateLaw]:
        """The learning rate by size of each arm, but those of which no rate that was tried came to its end."""
        found = {}
        for name in self.names:
            with contextlib.suppress(MachineError):
                found[name] = rate_laws(self.frame.definition, self.rows(name, "tune"))[name]
        return found

    @cached_property
    def answers(self) -> dict[str, Mapping[str, Any]]:
        """The shape to train at the target, by arm, for those that have a law."""
        known = {name: recorded.Record.of(record) for name, record in self.records.items() if record["answers"]}
        return {
            name: answer(self.frame.definition, name, law, rates=self.rates.get(name), target=self.target)
            for name, law in known.items()
        }

    @cached_property
    def spent(self) -> dict[str, Mapping[str, float]]:
        """Of each arm: runs and FLOPs of its points, as if each were trained from the beginning and as they were; and
        of the rates tried; lost: of points that did not come to their end."""
        return {name: self._spent(name) for name in self.names}

    def levels(self, name: str) -> dict[int, float]:
        """The levels at which an arm has complete points, with their FLOPs."""
        return {k: self.design.level(k) for k in sorted({self.level(row) for row in self.points(name)})}

    def grid(self, name: str) -> list[SizeRow]:
        """The losses of an arm, a size after the other, the smallest first."""
        cells: dict[str, dict[int, list[float]]] = {}
        for row in self.points(name):
            cells.setdefault(row["arm"], {}).setdefault(self.level(row), []).append(row["test_bpb"])
        means = {arm: {k: float(np.mean(own)) for k, own in levels.items()} for arm, levels in cells.items()}
        lowest = {k: min(own[k] for own in means.values() if k in own) for k in self.levels(name)}
        return [
            SizeRow(
                name=self.frame.definition.arm(size.arm).scale,
                params=size.params,
                cells=means[size.arm],
                best=frozenset(k for k, mean in means[size.arm].items() if mean == lowest[k]),
            )
            for size in self.sizes(name)
            if size.arm in means
        ]

    def data(self) -> dict[str, Any]:
        """All of it as plain data."""
        return plain(
            {
                "schema": SCHEMA,
                "study": self.frame.name,
                "target": self.target,
                "arms": self.records,
                "unfitted": self.unfitted,
                "crossings": self.crossings,
                "rates": self.rates,
                "answers": self.answers,
                "spent": self.spent,
            }
        )

    def _record(self, name: str) -> Record:
        points, bodies = self.points(name), self._column(name, "non_embedding_params")
        told = record(self.table(name), at=self.target, bodies=bodies)
        rows = [{**row, "level": self.level(point)} for row, point in zip(told["rows"], points, strict=True)]
        texts = [text["fingerprint"] for text in self.frame.evidence.get("texts", [])]
        revisions = sorted({str(origin["revision"]) for origin in self.frame.evidence.get("origins", [])})
        about = {"study": self.frame.name, "arm": name, "texts": texts, "revisions": revisions}
        return {**told, "rows": rows, "provenance": about}

    def table(self, name: str) -> Points:
        """What the law of an arm is fitted to; runs of one size and seed are a cluster."""
        rows = self.points(name)
        return Points(
            n=self._column(name, "params"),
            d=self._column(name, "tokens"),
            loss=self._column(name, "test_bpb"),
            clusters=[f"{self.size(row)}, seed {row['seed']}" for row in rows],
            excluded=Counter(row["status"] for row in self.rows(name, "point") if row["status"] != "complete"),
            c=self._column(name, "flops"),
            measured=True,
        )

    def _column(self, name: str, column: str) -> np.ndarray:
        return np.array([row[column] for row in self.points(name)], dtype=float)

    def _spent(self, name: str) -> Mapping[str, float]:
        points, tried = self.points(name), self.rows(name, "tune")
        whole = sum(row["flops"] for row in points)
        trained = sum(row["flops_spent"] for row in points)
        return {
            "points": len(points),
            "whole": whole,
            "trained": trained,
            "saved": whole - trained,
            "rates": len(tried),
            "rates_flops": sum(row["flops_spent"] or 0.0 for row in tried),
            "lost": sum(row["flops_spent"] or 0.0 for row in self.rows(name, "point") if row["status"] != "complete"),
        }
