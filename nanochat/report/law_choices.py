"""Figures of how far a law can be trusted, from its record alone: held-out budgets, choices of the fit, influences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from nanochat.report.figures import COLOURS, SYMBOLS, faint, log_axis, styled

Record = Mapping[str, Any]

# More runs than this do not fit on a figure; they are the least influential ones.
MOST_INFLUENCES = 15


def held_out_figure(record: Record) -> go.Figure:
    """The error on budgets that the law was not fitted to, by how far they lie beyond those that it was."""
    figure, cuts = go.Figure(), record["held_out"]
    for name, key, colour in (("mean error", "error", COLOURS[0]), ("bias", "bias", COLOURS[1])):
        figure.add_scatter(
            x=[cut["ratio"] for cut in cuts],
            y=[100 * cut[key] for cut in cuts],
            text=[f"{cut['rows']} runs" for cut in cuts],
            mode="lines+markers",
            name=name,
            line={"color": colour},
            hovertemplate="%{text}, %{x:.3g} times further<br>%{y:+.2f}%<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": "#888", "width": 1})
    log_axis(figure, "x", [cut["ratio"] for cut in cuts])
    return styled(figure, x="times beyond what was fitted", y="off by, % of the loss", height=320)


def choices_figure(record: Record) -> go.Figure:
    """N* and the loss at the target by every choice of whoever fits, with the interval of the choice made."""
    figure, rows = go.Figure(), record["sensitivity"]
    answers = record["answers"]
    if answers and answers["params"]["low"] is not None and answers["params"]["high"] is not None:
        figure.add_vrect(
            x0=answers["params"]["low"], x1=answers["params"]["high"], fillcolor=faint(COLOURS[0]), line_width=0
        )
    for place, definition in enumerate(dict.fromkeys(map(_definition, rows)), start=1):
        own = [row for row in rows if _definition(row) == definition]
        figure.add_scatter(
            x=[row["params"] for row in own],
            y=[row["loss"] for row in own],
            text=[row["choice"] for row in own],
            mode="markers",
            name=definition,
            marker={"color": COLOURS[place], "size": 7, "symbol": f"{SYMBOLS[place]}-open"},
            hovertemplate="%{text}<br>%{x:.4g} parameters<br>%{y:.4f}<extra></extra>",
        )
    if answers:
        figure.add_scatter(
            x=[answers["params"]["value"]],
            y=[answers["loss"]["value"]],
            mode="markers",
            name="the answer",
            marker={"color": COLOURS[0], "size": 11, "symbol": "star"},
            hovertemplate="%{x:.4g} parameters<br>%{y:.4f}<extra></extra>",
        )
    log_axis(figure, "x", [row["params"] for row in rows])
    return styled(figure, x="best parameters N* at the target", y="loss at the target", height=340)


def influences_figure(record: Record) -> go.Figure:
    """By how many of its standard errors the answer moves without a cluster of runs."""
    figure, rows = go.Figure(), record["influences"][:MOST_INFLUENCES][::-1]
    for name, key, colour in (("a", "exponent", COLOURS[0]), ("log N*", "params", COLOURS[1])):
        figure.add_bar(
            y=[row["cluster"] for row in rows],
            x=[row[key] for row in rows],
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertemplate="without %{y}: %{x:+.2f}<extra></extra>",
        )
    styled(figure, x="standard errors moved", y="", height=120 + 34 * len(rows))
    figure.update_layout(barmode="group")
    return figure


def _definition(row: Mapping[str, Any]) -> str:
    """What N is in a choice: sizes by another definition are other numbers."""
    return next((part for part in row["choice"].split(", ") if part.startswith("N = ")), "a choice")
