"""The forest plot: every paired difference with its interval, and what the seeds say one by one."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from nanochat.report.analysis import Analysis, Pair, ScaleFinding
from nanochat.report.figures import COLOURS, faint, styled

# Words in the palette: what is decided stands out.
WORD_COLOURS = {"better": COLOURS[0], "worse": COLOURS[1], "equivalent": COLOURS[2], "undecided": "#767676"}


def forest(analysis: Analysis, scale: ScaleFinding) -> go.Figure:
    """Differences in test bits per byte, a pair a row: mean, interval, each seed, and the bootstrap's interval."""
    figure = go.Figure()
    rope = analysis.frame.definition.reading.rope
    if rope:
        figure.add_vrect(x0=-rope, x1=rope, fillcolor=faint(COLOURS[2]), line_width=0, layer="below")
    figure.add_vline(x=0, line={"color": "#1a1a1a", "width": 1})
    labels = [label(pair, scale) for pair in scale.pairs]
    for pair, name in zip(scale.pairs, labels, strict=True):
        _row(figure, analysis, pair, name)
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=labels)
    figure.update_layout(showlegend=False)
    return styled(figure, x="difference in bits per byte", y="", height=130 + 46 * len(labels))


def label(pair: Pair, scale: ScaleFinding) -> str:
    """`mla − gqa`, the scale left out."""
    a, b = (name.removesuffix(f" @ {scale.scale}") if scale.scale else name for name in (pair.a, pair.b))
    return f"{a} − {b}"


def seed_differences(analysis: Analysis, pair: Pair) -> dict[int, float]:
    """The difference on each seed that both arms have."""
    scores = analysis.frame.test_scores
    return {
        seed: scores[pair.a, seed] - scores[pair.b, seed]
        for seed in analysis.frame.definition.seeds
        if (pair.a, seed) in scores and (pair.b, seed) in scores
    }


def _row(figure: go.Figure, analysis: Analysis, pair: Pair, name: str) -> None:
    gap, ink = pair.difference, WORD_COLOURS[pair.word]
    seeds = seed_differences(analysis, pair)
    figure.add_scatter(
        x=list(seeds.values()),
        y=[name] * len(seeds),
        mode="markers",
        name=f"{name}: seeds",
        text=[f"seed {seed}" for seed in seeds],
        marker={"color": faint(ink, 0.55), "size": 7, "symbol": "line-ns-open"},
        hovertemplate="%{text}: %{x:+.4f}<extra></extra>",
    )
    bars = None
    if gap.low is not None and gap.high is not None:
        bars = {"type": "data", "array": [gap.high - gap.mean], "arrayminus": [gap.mean - gap.low], "thickness": 2}
    figure.add_scatter(
        x=[gap.mean],
        y=[name],
        mode="markers",
        name=f"{name}: mean",
        text=[pair.word],
        error_x=bars,
        marker={"color": ink, "size": 10},
        hovertemplate=f"{name}<br>%{{x:+.4f}} bpb, {pair.word}<extra></extra>",
    )
    if pair.bootstrap:
        low, high = pair.bootstrap
        middle = float(np.mean([low, high]))
        figure.add_scatter(
            x=[middle],
            y=[name],
            mode="markers",
            name=f"{name}: bootstrap, shown only",
            error_x={"type": "data", "array": [high - middle], "thickness": 6, "width": 0, "color": faint(ink, 0.25)},
            marker={"color": faint(ink, 0.25), "size": 1},
            hovertemplate=f"bootstrap, shown only: {low:+.4f} to {high:+.4f}<extra></extra>",
        )
