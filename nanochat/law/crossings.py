"""Where the laws of a study's arms cross, two by two, as plain data for its record."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from nanochat.law.crossing import Arm, crossing, same_draws
from nanochat.law.forms import of_shape
from nanochat.law.plain import plain
from nanochat.law.recorded import Record


def crossings(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """A crossing for each two arms, between their smallest run and a hundred times their target."""
    able = {name: record for name, record in records.items() if of_shape(type(record.law))}
    return [{"a": a, "b": b, **plain(_between(able[a], able[b]))} for a, b in itertools.combinations(able, 2)]


def _between(a: Record, b: Record) -> Any:
    at = max(record.at or 0.0 for record in (a, b))
    low = min(float(record.column("c").min()) for record in (a, b))
    same = all(a.data["interval"].get(name) == b.data["interval"].get(name) for name in ("count", "seed"))
    paired = same and same_draws(_places(a), _places(b))
    arms = [Arm(record.law, record.laws, record.compute) for record in (a, b)]
    return crossing(*arms, low=low, high=100 * at, at=at, paired=paired)


def _places(record: Record) -> list[tuple[float, float]]:
    """Parameters and tokens of the longest row of each cluster, in order of appearance: the order of the draws."""
    found: dict[str, tuple[float, float]] = {}
    for row in record.data["rows"]:
        before = found.get(row["cluster"], (0.0, 0.0))
        found[row["cluster"]] = max(before, (row["n"], row["d"]), key=lambda place: place[1])
    return list(found.values())
