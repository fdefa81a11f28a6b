"""What tuning tried: slices through the search, and which searched key mattered."""

from __future__ import annotations

import plotly.graph_objects as go

from nanochat.core.compose import Interval
from nanochat.report.figures import styled
from nanochat.report.frame import Frame
from nanochat.report.look import line, mark
from nanochat.study.suggest import distribution, quiet_optuna
from nanochat.study.table import tuning_column

# With fewer trials an importance says nothing; beyond so many points lines only hide them.
FEWEST_TRIALS, MOST_JOINED = 8, 30


def searched(frame: Frame) -> list[str]:
    """The axes that some trial has a value of, in order."""
    return [
        key for key in frame.axes if any(row.get(key) is not None for arm in frame.arms for row in frame.tuning(arm))
    ]


def search_slice(frame: Frame, axis: str) -> go.Figure:
    """The objective of the complete tuning trials against one searched value."""
    figure, column = go.Figure(), tuning_column(frame.definition.objectives[0])
    domains = [a.domain for arm in frame.definition.arms for a in arm.axes if a.key == axis]
    ordered = all(isinstance(domain, Interval) for domain in domains)
    value = "%{x:.4g}" if ordered else "%{x}"
    for arm in frame.arms:
        found = sorted((r for r in frame.tuning(arm) if r["status"] == "complete" and r.get(axis) is not None),
                       key=lambda row: row[axis] if ordered else str(row[axis]))  # fmt: skip
        if found:
            figure.add_scatter(
                x=[row[axis] if ordered else str(row[axis]) for row in found],
                y=[row[column] for row in found],
                mode="lines+markers" if ordered and len(found) <= MOST_JOINED else "markers",
                name=arm,
                text=[f"trial {row['number']}" for row in found],
                line=line(frame, arm, width=1),
                marker=mark(frame, arm),
                hovertemplate=f"{arm}, %{{text}}<br>{axis} {value}<br>%{{y:.4f}}<extra></extra>",
            )
    if all(isinstance(domain, Interval) and domain.log for domain in domains):
        figure.update_xaxes(type="log", dtick="D2", tickformat=".2~e")
    if not ordered:
        figure.update_xaxes(type="category")
    return styled(figure, x=axis, y=_objective(frame))


def importances(frame: Frame) -> dict[str, dict[str, float]]:
    """Share of each searched key in what made trials good, for each arm with several keys and trials enough.

    PED-ANOVA (Watanabe et al. 2023, 2304.10255), as Optuna computes it; shares add up to 1.
    """
    found = {arm.name: _importance(frame, arm.name) for arm in frame.definition.arms if len(arm.axes) > 1}
    return {name: shares for name, shares in found.items() if shares}


def _importance(frame: Frame, name: str) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    quiet_optuna()
    column, axes = tuning_column(frame.definition.objectives[0]), frame.definition.arm(name).axes
    rows = [row for row in frame.tuning(name) if row["status"] == "complete"]
    keys = [axis for axis in axes if all(row.get(axis.key) is not None for row in rows)]
    if len(rows) < FEWEST_TRIALS or len(keys) < 2:
        return {}
    study = optuna.create_study()
    space = {axis.key: distribution(axis) for axis in keys}
    for row in rows:
        params = {key: row[key] for key in space}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=row[column]))
    return optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def _objective(frame: Frame) -> str:
    name = frame.definition.objectives[0]
    return {"bpb": "bits per byte (valid)", "loss": "nats per token (valid)"}.get(name, name)
