"""Figures of how far a law can be trusted, from its record alone: held-out budgets, choices of the fit, influences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from nanochat.report.figures import COLOURS, faint, styled

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
    return styled(figure, x="largest compute over the largest fitted", y="off by, % of the loss", height=320)


def choices_figure(record: Record) -> go.Figure:
    """N* and the loss at the target by every choice of whoever fits, with the interval of the choice made."""
    figure, rows = go.Figure(), record["sensitivity"]
    answers = record["answers"]
    if answers and answers["params"]["low"] is not None and answers["params"]["high"] is not None:
        figure.add_vrect(
            x0=answers["params"]["low"], x1=answers["params"]["high"], fillcolor=faint(COLOURS[0]), line_width=0
        )
    figure.add_scatter(
        x=[row["params"] for row in rows],
        y=[row["loss"] for row in rows],
        text=[row["choice"] for row in rows],
        mode="markers",
        name="a choice",
        marker={"color": COLOURS[1], "size": 7, "symbol": "circle-open"},
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
    figure.update_xaxes(type="log", dtick="D2", tickformat="~s")
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
    styled(figure, x="moves by so many standard errors", y="", height=120 + 34 * len(rows))
    figure.update_layout(barmode="group")
    return figure
