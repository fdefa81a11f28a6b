"""Figures behind the one number: where in texts it is lost, how sure models are, what seeds could have shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from nanochat.report.analysis import CONFIDENCE, Analysis, Noise
from nanochat.report.documents import KINDS
from nanochat.report.figures import COLOURS, DASHES, colour, dash, styled, symbol
from nanochat.stats.power import power


def by_kind(analysis: Analysis, kind: str, arms: Sequence[str]) -> go.Figure:
    """Test bits per byte by length of the document, position in it, or frequency of the token; bars: sd over seeds."""
    figure, names = go.Figure(), analysis.frame.arms
    for line in analysis.documents.by(kind):
        if line.arm in arms:
            spread = {"type": "data", "array": line.sd.tolist(), "width": 2, "thickness": 1}
            figure.add_scatter(
                x=np.maximum(line.low, 0.5).tolist(),
                y=line.mean.tolist(),
                error_y=spread if np.isfinite(line.sd).any() else None,
                mode="lines+markers",
                name=line.arm,
                line={"color": colour(names, line.arm), "dash": dash(names, line.arm), "width": 1.5},
                marker={"size": 5, "symbol": symbol(names, line.arm)},
                hovertemplate=f"{line.arm}<br>from %{{x:.4g}}<br>%{{y:.4f}} bpb<extra></extra>",
            )
    figure.update_xaxes(type="log", dtick=1)
    return styled(figure, x=f"{KINDS[kind]} (from)", y="bits per byte (test)", height=340)


def reliability(analysis: Analysis, arms: Sequence[str]) -> go.Figure:
    """How often the likeliest token is right against how sure the model is; on the diagonal it is calibrated."""
    figure, names = go.Figure(), analysis.frame.arms
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"color": "#888", "width": 1})
    for arm in arms:
        if (found := analysis.documents.reliability(arm)) is not None:
            figure.add_scatter(
                x=found[0].tolist(),
                y=found[1].tolist(),
                mode="lines+markers",
                name=arm,
                line={"color": colour(names, arm), "dash": dash(names, arm), "width": 1.5},
                marker={"size": 5, "symbol": symbol(names, arm)},
                hovertemplate=f"{arm}<br>sure %{{x:.2f}}, right %{{y:.2f}}<extra></extra>",
            )
    return styled(figure, x="probability of the likeliest token", y="share right", height=340)


def power_figure(noise: Noise, *, seeds: int, comparisons: int) -> go.Figure:
    """The chance that a true difference is found, by its size, for this number of seeds and more."""
    assert noise.paired_sd is not None and noise.smallest is not None
    figure = go.Figure()
    sizes = np.linspace(0, 1.6 * noise.smallest, 50)
    for i, count in enumerate((seeds, 2 * seeds, 4 * seeds)):
        chances = [power(d, noise.paired_sd, seeds=count, alpha=(1 - CONFIDENCE) / comparisons) for d in sizes]
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
