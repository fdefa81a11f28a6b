"""Training curves on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nanochat.report.curves import TITLES, X_TITLES, Curve, Series, X, differing, panels, series
from nanochat.report.figures import COLOURS, DASHES, styled
from nanochat.report.frame import number_text
from nanochat.report.page import div, render
from nanochat.study.watch import clock

# Lines of fewer points show them.
SPARSE = 30

# More runs than these have one line each in the legend.
MANY = 4


def write_page(
    curves: Sequence[Curve],
    path: Path,
    *,
    title: str,
    wanted: Sequence[str],
    x: X,
    smooth: float,
    reload: float | None,
) -> None:
    """Render the runs to `path`, atomically. reload: seconds after which the page opens itself anew, None for never."""
    names = panels(wanted, curves)
    render(
        "curves.html.j2",
        path,
        filters={"number": number_text, "clock": clock},
        title=title,
        curves=curves,
        differ=differing(curves) if len(curves) > 1 else {},
        figures=[(TITLES.get(name, (name,))[0], name, div(figure(name, curves, x=x, smooth=smooth))) for name in names],
        smooth=smooth,
        reload=reload,
    )


def figure(name: str, curves: Sequence[Curve], *, x: X, smooth: float) -> go.Figure:
    """One panel: a colour a run, a dash for each further column."""
    made = go.Figure()
    title, log = TITLES.get(name, (name, False))
    for i, curve in enumerate(curves):
        lines = edges = 0
        for part in series(name, curve, x=x, smooth=smooth):
            made.add_scatter(
                x=part.x,
                y=part.y,
                name=curve.label if part.name == name else f"{curve.label} {part.name}",
                legendgroup=curve.label,
                showlegend=part.mark == "line" or (part.mark in ("dots", "top") and len(curves) <= MANY),
                hovertemplate=f"{curve.label}<br>%{{x:,}} {x}<br>{part.name} %{{y:.4g}}<extra></extra>",
                **look(part, colour=COLOURS[i % len(COLOURS)], dash=DASHES[lines % len(DASHES)], upper=edges == 1),
            )
            lines += part.mark == "line"
            edges += part.mark == "edge"
    if log:
        made.update_yaxes(type="log")
    # The legend takes its lines from the height, on a phone one for each run.
    return styled(made, x=X_TITLES[x], y=title, height=380 + 20 * max(0, len(curves) - MANY))


def look(part: Series, *, colour: str, dash: str, upper: bool) -> dict[str, Any]:
    """How a series is drawn."""
    if part.mark == "dots":
        return {"mode": "markers", "marker": {"color": colour, "size": 7}}
    if part.mark == "faint":
        return {"mode": "lines", "line": {"color": colour, "width": 1}, "opacity": 0.3}
    if part.mark == "edge":
        # Nothing but a band, which the upper edge fills down to the lower one before it.
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        fill = {"fill": "tonexty" if upper else "none", "fillcolor": f"rgba({red},{green},{blue},0.15)"}
        return {"mode": "lines", "line": {"color": colour, "width": 0}, **fill}
    if part.mark == "top":
        return {"mode": "lines+markers", "line": {"color": colour, "width": 1, "dash": "dot"}, "marker": {"size": 4}}
    mode = "lines+markers" if len(part.x) < SPARSE else "lines"
    return {"mode": mode, "line": {"color": colour, "width": 1.5, "dash": dash}, "marker": {"size": 4}}
