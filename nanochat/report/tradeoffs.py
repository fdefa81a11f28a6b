"""Loss against what it costs: FLOPs, decoding state, speed; and against the study's other objectives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go

from nanochat.report.figures import styled
from nanochat.report.frame import Frame
from nanochat.report.look import mark
from nanochat.stats.pareto import front
from nanochat.study import table

# What is better low, by column of the page: read from a row of results.csv.
COSTS: dict[str, Callable[[table.Row], float | None]] = {
    "training FLOPs of a run": lambda row: row["flops"],
    "bytes of decoding state for a token": lambda row: row["state_bytes"],
    "seconds for a million training tokens": lambda row: (
        1e6 * row["seconds"] / row["tokens"] if row["tokens"] else None
    ),
}


def cost_figure(frame: Frame, cost: str) -> go.Figure:
    """Mean test bits per byte of each arm against what it costs; the line joins those that no other beats in both."""
    figure, points = go.Figure(), dict[str, tuple[float, float]]()
    for arm in frame.arms:
        runs = frame.confirming(arm)
        values = [(COSTS[cost](row), row["test_bpb"]) for row in runs]
        known = np.array([pair for pair in values if pair[0] is not None], dtype=float)
        if not len(known):
            continue
        points[arm] = (float(known[:, 1].mean()), float(known[:, 0].mean()))
        spread = {"type": "data", "array": [float(known[:, 1].std(ddof=1))], "width": 3} if len(known) > 1 else None
        figure.add_scatter(
            x=[points[arm][1]],
            y=[points[arm][0]],
            error_y=spread,
            mode="markers",
            name=arm,
            marker=mark(frame, arm, size=10),
            hovertemplate=f"{arm}<br>%{{x:.4g}}<br>%{{y:.4f}} bpb<extra></extra>",
        )
    _join(figure, sorted((list(points.values())[i] for i in front(list(points.values()))), key=lambda p: p[1]))
    figure.update_xaxes(tickformat=".3~s" if "FLOPs" not in cost else ".2~e")
    return styled(figure, x=cost, y="bits per byte (test)", height=340)


def objectives_figure(frame: Frame) -> go.Figure:
    """The first two objectives of every complete run, and the front that no other beats."""
    first, second = map(table.tuning_column, frame.definition.objectives[:2])
    figure = go.Figure()
    tuned = frame.complete("tune") or frame.complete("seed")
    for arm in frame.arms:
        own = [row for row in tuned if row["arm"] == arm]
        figure.add_scatter(
            x=[row[second] for row in own],
            y=[row[first] for row in own],
            mode="markers",
            name=arm,
            marker=mark(frame, arm, size=8),
            text=[f"{row['phase']} {row['number']}" for row in own],
            hovertemplate=f"{arm}, %{{text}}<br>%{{x:,}}<br>%{{y:.4f}}<extra></extra>",
        )
    if len(frame.definition.objectives) == 2:  # the front of more is no line
        _join(figure, [(point.values[0], point.values[1]) for point in frame.front])
    return styled(figure, x=frame.definition.objectives[1], y=frame.definition.objectives[0])


def _join(figure: go.Figure, points: list[tuple[float, float]]) -> None:
    if len(points) > 1:
        figure.add_scatter(
            x=[x for _, x in points],
            y=[y for y, _ in points],
            mode="lines",
            line={"color": "#888", "width": 1, "shape": "vh"},
            name="front",
            hoverinfo="skip",
        )
