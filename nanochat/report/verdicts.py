"""`verdicts.json`: what a study concludes, as data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from nanochat.report import words
from nanochat.report.analysis import Analysis, ArmFinding
from nanochat.report.models import models

SCHEMA = 1


def verdicts(analysis: Analysis) -> dict[str, Any]:
    """Plain data; what is not finite is null."""
    frame = analysis.frame
    return _plain(
        {
            "schema": SCHEMA,
            "study": frame.name,
            "question": words.question(frame),
            "verdict": words.verdict(analysis),
            "estimand": words.estimand(analysis),
            "caveats": words.caveats(analysis),
            "obstacles": analysis.obstacles,
            "reading": frame.definition.reading.data(),
            "comparisons": analysis.comparisons,
            "scales": [
                {
                    "scale": scale.scale,
                    "params": scale.params,
                    "arms": [_arm(arm) for arm in scale.arms],
                    "pairs": scale.pairs,
                    "noise": scale.noise,
                }
                for scale in analysis.scales
            ],
            "across": analysis.trends,
            "views": analysis.views,
            "models": [
                {
                    field.name: getattr(model, field.name)
                    for field in dataclasses.fields(model)
                    if field.name != "sample"
                }
                for model in models(analysis)
            ],
        }
    )


def _arm(arm: ArmFinding) -> dict[str, Any]:
    result = arm.result
    return {
        "arm": arm.name,
        "best": result.best,
        "edges": result.edges,
        "scores": result.scores,
        "mean": result.mean,
        "sd": result.sd,
        "word": arm.standing.word,
        "difference": arm.standing.difference,
        "tuning": arm.tuning,
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
