"""Figures behind the one number: where in texts it is lost, how sure models are, what seeds could have shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from nanochat.report.analysis import Analysis, Noise
from nanochat.report.documents import KINDS
from nanochat.report.figures import COLOURS, DASHES, styled
from nanochat.report.look import ink, mark
from nanochat.stats.power import power


def by_kind(analysis: Analysis, kind: str, arms: Sequence[str]) -> go.Figure:
    """Test bits per byte by length of the document, position in it, or frequency of the token; bars: sd over seeds."""
    figure, frame = go.Figure(), analysis.frame
    for found in analysis.documents.by(kind):
        if found.arm in arms:
            spread = {"type": "data", "array": found.sd.tolist(), "width": 2, "thickness": 1}
            figure.add_scatter(
                x=np.maximum(found.low, 0.5).tolist(),
                y=found.mean.tolist(),
                error_y=spread if np.isfinite(found.sd).any() else None,
                mode="lines+markers",
                name=frame.definition.arm(found.arm).alone,
                line={"color": ink(frame, found.arm), "width": 1.5},
                marker=mark(frame, found.arm, size=5),
                hovertemplate=f"{found.arm}<br>from %{{x:.4g}}<br>%{{y:.4f}} bpb<extra></extra>",
            )
    figure.update_xaxes(type="log", dtick="D2" if kind == "length" else 1, tickformat="~s")
    return styled(figure, x=f"{KINDS[kind]} (from)", y="bits per byte (test)", height=340)


def reliability(analysis: Analysis, arms: Sequence[str]) -> go.Figure:
    """How often the likeliest token is right against how sure the model is; on the diagonal it is calibrated."""
    figure, frame = go.Figure(), analysis.frame
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"color": "#888", "width": 1})
    for arm in arms:
        if (found := analysis.documents.reliability(arm)) is not None:
            figure.add_scatter(
                x=found[0].tolist(),
                y=found[1].tolist(),
                mode="lines+markers",
                name=frame.definition.arm(arm).alone,
                line={"color": ink(frame, arm), "width": 1.5},
                marker=mark(frame, arm, size=5),
                hovertemplate=f"{arm}<br>sure %{{x:.2f}}, right %{{y:.2f}}<extra></extra>",
            )
    return styled(figure, x="probability of the likeliest token", y="share right", height=340)


def power_figure(noise: Noise) -> go.Figure:
    """The chance that a true difference is found, by its size, for as many seeds as there are, and more."""
    assert noise.paired_sd is not None and noise.smallest is not None
    figure = go.Figure()
    sizes = np.linspace(0, 1.6 * noise.smallest, 50)
    for i, count in enumerate((noise.seeds, 2 * noise.seeds, 4 * noise.seeds)):
        chances = [power(d, noise.paired_sd, seeds=count, alpha=noise.alpha) for d in sizes]
        figure.add_scatter(
            x=sizes.tolist(),
            y=chances,
            mode="lines",
            name=f"{count} seeds",
            line={"color": COLOURS[i], "dash": DASHES[i]},
            hovertemplate=f"{count} seeds<br>%{{x:.4f}} bpb: %{{y:.0%}}<extra></extra>",
        )
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return styled(figure, x="true difference in bits per byte", y="chance to find it", height=320)
