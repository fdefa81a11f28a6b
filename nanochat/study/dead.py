"""Dead knobs: runs whose inputs differ and whose curves are the same to the last bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.core.spec import hash_of
from nanochat.logger.csv import FILE, read
from nanochat.run.folder import RunFolder
from nanochat.study.definition import differences

# Of a row of metrics.csv: what a run computes. Rates and times differ where nothing that is trained does.
CURVE = ("step", "train_loss", "grad_norm", "valid_bpb")


@dataclass(frozen=True)
class DeadKnob:
    """keys: in what the runs differ · runs: their labels. All of their curves are one."""

    keys: tuple[str, ...]
    runs: tuple[str, ...]

    def __str__(self) -> str:
        keys = ", ".join(self.keys[:4]) + (f" and {len(self.keys) - 4} more" if len(self.keys) > 4 else "")
        runs = ", ".join(self.runs[:6]) + (f" and {len(self.runs) - 6} more" if len(self.runs) > 6 else "")
        return f"{keys} changed nothing: the curves of {runs} are the same to the last bit"


def dead_knobs(rows: Iterable[Mapping[str, Any]], *, runs: Path) -> list[DeadKnob]:
    """The dead knobs among the complete runs of a study's `rows`; `runs` is where runs lie."""
    labels: dict[str, str] = {}
    for row in rows:
        if row["status"] == "complete" and row["key"]:
            number = row["number"] if row["phase"] == "tune" else row["seed"]
            labels.setdefault(row["key"], f"{row['arm']} {row['phase']} {number}")
    alike: dict[str, list[str]] = defaultdict(list)
    for key in labels:
        if curve := read(runs / key / FILE):
            alike[hash_of([[line.get(name) for name in CURVE] for line in curve])].append(key)
    return [_knob(keys, labels, runs=runs) for keys in alike.values() if len(keys) > 1]


def _knob(keys: Sequence[str], labels: Mapping[str, str], *, runs: Path) -> DeadKnob:
    described = [(RunFolder(runs / key).description() or {}).get("run", {}) for key in keys]
    found = dict.fromkeys(name for other in described[1:] for name, _, _ in differences(described[0], other))
    return DeadKnob(tuple(found) or ("the texts",), tuple(labels[key] for key in keys))
