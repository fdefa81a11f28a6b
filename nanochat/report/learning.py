"""Learning curves: the mean of each arm's seeds, and a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from nanochat.report.figures import faint, styled
from nanochat.report.frame import Frame
from nanochat.report.look import ink, mark
from nanochat.report.views import BUDGETS, along


def learning_curves(frame: Frame, arms: Sequence[str], *, budget: str) -> go.Figure:
    """Valid bits per byte of the confirming runs against tokens, FLOPs or seconds spent."""
    figure = go.Figure()
    for arm in arms:
        curves = [along(r, frame.curves[r["key"]], budget) for r in frame.confirming(arm) if r["key"] in frame.curves]
        curves = [(x, y) for x, y in curves if len(x)]
        if not curves:
            continue
        shade, short = ink(frame, arm), frame.definition.arm(arm).alone
        x, values = _together(curves)
        mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
        if len(curves) > 1:
            figure.add_scatter(
                x=np.concatenate([x, x[::-1]]).tolist(),
                y=np.concatenate([high, low[::-1]]).tolist(),
                fill="toself",
                mode="lines",
                fillcolor=faint(shade),
                line={"width": 0},
                name=f"{short}: seeds from highest to lowest",
                legendgroup=arm,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=x.tolist(),
            y=mean.tolist(),
            mode="lines+markers" if len(x) < 20 else "lines",
            name=short,
            legendgroup=arm,
            line={"color": shade, "width": 1.8},
            marker=mark(frame, arm, size=5),
            hovertemplate=f"{arm}<br>%{{x:.4g}} {BUDGETS[budget]}<br>%{{y:.4f}} bpb<extra></extra>",
        )
    figure.update_xaxes(tickformat={"tokens": "~s", "flops": ".1e"}.get(budget, "~g"))
    return styled(figure, x=BUDGETS[budget], y="bits per byte (valid)")


def _together(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The curves over one x: at each validation the mean of theirs, as seconds differ from seed to seed."""
    count = min(len(x) for x, _ in curves)
    return np.mean([x[:count] for x, _ in curves], axis=0), np.stack([y[:count] for _, y in curves])
