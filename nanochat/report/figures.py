"""The one look of figures, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

# Okabe & Ito's palette (jfly.uni-koeln.de/color), without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# An axis of more decades has a tick for each, one of fewer more.
DECADES = 1.5
# Decades below which values on a log axis count as one.
SAME = 1e-6
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")


def faint(colour: str, opacity: float = 0.15) -> str:
    """A colour for what lies behind: bands and regions."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def shades(scale: str, count: int) -> list[str]:
    """So many colours in an order, dark to light; the lightest of a scale vanish on white."""
    places = [0.85 * i / max(1, count - 1) for i in range(count)]
    return [str(colour) for colour in sample_colorscale(scale, places)]


def log_axis(figure: go.Figure, axis: Literal["x", "y"], values: Sequence[float], *, form: str = "~s") -> None:
    """A log axis with ticks that can be read over many decades and over part of one."""
    span = math.log10(max(values) / min(values)) if values else 1.0
    each = 1 if span > DECADES else "D2" if span > 0.5 else "D1" if span > 0.1 else None
    update = figure.update_xaxes if axis == "x" else figure.update_yaxes
    update(type="log", dtick=each, tickformat=form)
    if values and span < SAME:  # Plotly finds no ticks between values that are all but the same
        update(range=[math.log10(values[0]) - 0.05, math.log10(values[0]) + 0.05])


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
