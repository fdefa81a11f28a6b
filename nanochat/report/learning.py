"""Learning curves: the mean of each arm's seeds, and a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from nanochat.report.figures import colour, dash, faint, styled
from nanochat.report.frame import Frame
from nanochat.report.views import BUDGETS, along

POINTS = 60


def learning_curves(frame: Frame, arms: Sequence[str], *, budget: str) -> go.Figure:
    """Valid bits per byte of the confirming runs against tokens, FLOPs or seconds spent."""
    figure = go.Figure()
    for arm in arms:
        curves = [along(r, frame.curves[r["key"]], budget) for r in frame.confirming(arm) if r["key"] in frame.curves]
        curves = [(x, y) for x, y in curves if len(x)]
        if not curves:
            continue
        ink = colour(frame.arms, arm)
        x, values = _together(curves)
        mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
        if len(curves) > 1:
            figure.add_scatter(
                x=np.concatenate([x, x[::-1]]).tolist(),
                y=np.concatenate([high, low[::-1]]).tolist(),
                fill="toself",
                fillcolor=faint(ink),
                line={"width": 0},
                name=f"{arm}: seeds from highest to lowest",
                legendgroup=arm,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=x.tolist(),
            y=mean.tolist(),
            mode="lines+markers" if len(x) < 20 else "lines",
            name=arm,
            legendgroup=arm,
            line={"color": ink, "width": 1.8, "dash": dash(frame.arms, arm)},
            marker={"size": 4},
            hovertemplate=f"{arm}<br>%{{x:.4g}} {BUDGETS[budget]}<br>%{{y:.4f}} bpb<extra></extra>",
        )
    figure.update_xaxes(tickformat="~s" if budget != "flops" else ".1e")
    return styled(figure, x=BUDGETS[budget], y="bits per byte (valid)")


def _together(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The curves over one x: their own where it is the same for all, else points that all of them reached."""
    first = curves[0][0]
    if all(len(x) == len(first) and np.allclose(x, first) for x, _ in curves):
        return first, np.stack([y for _, y in curves])
    x = np.linspace(max(c[0][0] for c in curves), min(c[0][-1] for c in curves), POINTS)
    return x, np.stack([np.interp(x, c[0], c[1]) for c in curves])
