"""How a difference goes with the size of the model."""

from __future__ import annotations

import plotly.graph_objects as go

from nanochat.report.analysis import Analysis
from nanochat.report.figures import COLOURS, DASHES, SYMBOLS, styled


def across(analysis: Analysis) -> go.Figure:
    """Each paired difference against the parameters at each scale, with its interval."""
    figure = go.Figure()
    for i, found in enumerate(analysis.trends):
        name, points = f"{found.a} − {found.b}", []
        for scale in analysis.scales:
            wanted = (f"{found.a} @ {scale.scale}", f"{found.b} @ {scale.scale}")
            for pair in scale.pairs:
                gap = pair.difference
                gap = gap if (pair.a, pair.b) == wanted else gap.mirrored if (pair.b, pair.a) == wanted else None
                if gap is not None:
                    points.append((scale.params, gap))
        bars = [None if gap.high is None else gap.high - gap.mean for _, gap in points]
        figure.add_scatter(
            x=[size for size, _ in points],
            y=[gap.mean for _, gap in points],
            error_y={"type": "data", "array": bars, "width": 3, "thickness": 1},
            mode="lines+markers",
            name=name,
            line={"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i // len(COLOURS) % len(DASHES)], "width": 1.5},
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 7},
            hovertemplate=f"{name}<br>%{{x:.3s}} parameters<br>%{{y:+.4f}} bpb<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": "#1a1a1a", "width": 1})
    figure.update_xaxes(type="log", tickformat="~s")
    return styled(figure, x="parameters", y="difference in bits per byte")
