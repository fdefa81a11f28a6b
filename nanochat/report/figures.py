"""Figures of a study, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nanochat.core.compose import Interval
from nanochat.report.frame import Frame, Run
from nanochat.study import table

# Okabe & Ito's palette (jfly.uni-koeln.de/color), without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot")


def learning_curves(frame: Frame) -> go.Figure:
    """Valid bits per byte against training tokens: one line a confirming run, one colour an arm."""
    figure = go.Figure()
    for arm in frame.arms:
        for i, run in enumerate(frame.confirming(arm)):
            points = [(row["tokens"], row["valid_bpb"]) for row in run.curve if row["valid_bpb"] is not None]
            figure.add_scatter(
                x=[x for x, _ in points],
                y=[y for _, y in points],
                mode="lines+markers",
                name=arm,
                legendgroup=arm,
                showlegend=i == 0,
                line={"color": colour(frame, arm), "width": 1.5, "dash": DASHES[i % len(DASHES)]},
                marker={"size": 4},
                hovertemplate=f"{arm}, seed {run.seed}<br>%{{x:,}} tokens<br>%{{y:.4f}} bpb<extra></extra>",
            )
    return styled(figure, x="training tokens", y="bits per byte (valid)")


def scores(frame: Frame) -> go.Figure:
    """Test bits per byte of every confirming run, an arm a row, its mean as a bar."""
    figure = go.Figure()
    for arm in frame.arms:
        found = [run for run in frame.confirming(arm) if run.test_bpb is not None]
        values = [run.test_bpb for run in found if run.test_bpb is not None]
        figure.add_scatter(
            x=values,
            y=[arm] * len(values),
            mode="markers",
            marker={"color": colour(frame, arm), "size": 9, "opacity": 0.75},
            text=[f"seed {run.seed}" for run in found],
            hovertemplate=f"{arm}, %{{text}}<br>%{{x:.4f}} bpb<extra></extra>",
            showlegend=False,
        )
        if values:
            figure.add_scatter(
                x=[sum(values) / len(values)],
                y=[arm],
                mode="markers",
                marker={"symbol": "line-ns-open", "color": colour(frame, arm), "size": 22, "line": {"width": 3}},
                hovertemplate=f"{arm}, mean<br>%{{x:.4f}} bpb<extra></extra>",
                showlegend=False,
            )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return styled(figure, x="bits per byte (test)", y="", height=120 + 44 * len(frame.arms))


def search_slice(frame: Frame, axis: str) -> go.Figure:
    """Valid bits per byte of the tuning trials against one searched value."""
    figure = go.Figure()
    for arm in frame.arms:
        found = [run for run in frame.tuning(arm) if axis in run.params and run.status == "complete"]
        found.sort(key=lambda run: run.params[axis])
        figure.add_scatter(
            x=[run.params[axis] for run in found],
            y=[run.valid_bpb for run in found],
            mode="lines+markers",
            name=arm,
            line={"color": colour(frame, arm), "width": 1},
            hovertemplate=f"{arm}<br>{axis} %{{x:.4g}}<br>%{{y:.4f}} bpb<extra></extra>",
        )
    domains = [a.domain for arm in frame.definition.arms for a in arm.axes if a.key == axis]
    if all(isinstance(domain, Interval) and domain.log for domain in domains):
        figure.update_xaxes(type="log", dtick="D2", tickformat=".2~g")
    return styled(figure, x=axis, y="bits per byte (valid)")


def trade_offs(frame: Frame) -> go.Figure:
    """The first two objectives of every complete run, and the front that no other beats."""
    first, second = map(table.tuning_column, frame.definition.objectives[:2])
    figure = go.Figure()
    complete = [row for row in frame.rows if row["status"] == "complete"]
    tuned = [row for row in complete if row["phase"] == "tune"] or complete
    for arm in frame.arms:
        own = [row for row in tuned if row["arm"] == arm]
        figure.add_scatter(
            x=[row[second] for row in own],
            y=[row[first] for row in own],
            mode="markers",
            name=arm,
            marker={"color": colour(frame, arm), "size": 8},
            text=[f"{row['phase']} {row['number']}" for row in own],
            hovertemplate=f"{arm}, %{{text}}<br>%{{x:,}}<br>%{{y:.4f}}<extra></extra>",
        )
    figure.add_scatter(
        x=[point.values[1] for point in frame.front],
        y=[point.values[0] for point in frame.front],
        mode="lines",
        line={"color": "#888", "width": 1, "shape": "vh"},
        name="front",
        hoverinfo="skip",
    )
    return styled(figure, x=frame.definition.objectives[1], y=frame.definition.objectives[0])


def colour(frame: Frame, arm: str) -> str:
    """The arm's colour, the same in every figure."""
    return COLOURS[frame.arms.index(arm) % len(COLOURS)]


def styled(figure: go.Figure, *, x: str, y: str, height: int = 380) -> go.Figure:
    """The one look of a figure: plain, readable at phone width, legend above the plot."""
    figure.update_layout(
        template="simple_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        hovermode="closest",
    )
    figure.update_xaxes(title=x, automargin=True, showgrid=True)
    figure.update_yaxes(title=y, automargin=True, showgrid=True)
    return figure


def searched(runs: Sequence[Run]) -> list[str]:
    """The axes that were searched over numbers, in the order met."""
    return list(dict.fromkeys(k for run in runs for k, v in run.params.items() if isinstance(v, (int, float))))
