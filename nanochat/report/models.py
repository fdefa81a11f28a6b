"""What is told of each arm's models beside the score: calibration, overfitting, and the texts that they write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanochat.report.analysis import Analysis

# Rows of metrics.csv at the end of a run that its training loss is the mean of: one row's batch is a small sample.
LAST_ROWS = 5

MEASURES = {
    "distinct_2": "different pairs of words",
    "repeated": "pieces of 16 characters repeated",
    "compression": "times smaller when deflated",
    "loops": "texts that end in a loop",
}


@dataclass(frozen=True)
class Value:
    """A mean over an arm's runs, and their standard deviation (None for one run)."""

    mean: float
    sd: float | None

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.sd:.4f}" if self.sd is not None else "")


@dataclass(frozen=True, kw_only=True)
class Model:
    """gap: valid less training loss at the end, in nats per token · calibration: expected calibration error · greedy,
    drawn: how texts vary, by measure · sample: what its first run wrote."""

    arm: str
    gap: Value | None
    calibration: Value | None
    greedy: Mapping[str, Value]
    drawn: Mapping[str, Value]
    sample: Mapping[str, Any] | None


def models(analysis: Analysis) -> list[Model]:
    """One for each arm."""
    samples = analysis.frame.evidence.get("samples", {})
    return [_model(analysis, arm, [s for s in samples.values() if s["arm"] == arm]) for arm in analysis.frame.arms]


def _model(analysis: Analysis, arm: str, samples: Sequence[Mapping[str, Any]]) -> Model:
    return Model(
        arm=arm,
        gap=_value(list(_gaps(analysis, arm))),
        calibration=_value(analysis.documents.calibration_error(arm)),
        greedy=_measures([sample["greedy"] for sample in samples]),
        drawn=_measures([sample["drawn"] for sample in samples]),
        sample=samples[0] if samples else None,
    )


def _gaps(analysis: Analysis, arm: str) -> Iterator[float]:
    for row in analysis.frame.confirming(arm):
        curve = analysis.frame.curves.get(row["key"])
        if curve is not None and "train_loss" in curve and "valid_loss" in curve:
            train = curve["train_loss"][np.isfinite(curve["train_loss"])][-LAST_ROWS:]
            valid = curve["valid_loss"][np.isfinite(curve["valid_loss"])][-1:]
            if len(train) and len(valid):
                yield float(valid[0] - train.mean())


def _measures(parts: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    found = {name: _value([part[name] for part in parts]) for name in MEASURES}
    return {name: value for name, value in found.items() if value is not None}


def _value(values: Sequence[float]) -> Value | None:
    if not values:
        return None
    return Value(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)
