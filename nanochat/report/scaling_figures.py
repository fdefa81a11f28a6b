"""Figures of a scaling study besides those of its laws: rates tried, the law of rates, learning curves."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from nanochat.report.figures import COLOURS, faint, log_axis, shades, styled
from nanochat.report.law_figures import FLOPS
from nanochat.report.scaling import Scaling
from nanochat.report.views import BUDGETS, along

RATE = "~g"


def rates_figure(scaling: Scaling, name: str) -> go.Figure:
    """Valid bits per byte against the rates tried at each size, and the rate that was chosen there."""
    figure, tried = go.Figure(), scaling.rows(name, "tune")
    inks = size_colours(scaling, name)
    vertices = {t.size: t for t in scaling.rates[name].tried} if name in scaling.rates else {}
    for size in scaling.sizes(name):
        rows = sorted((row for row in tried if row["arm"] == size.arm), key=lambda row: row["lr.peak"])
        good = [row for row in rows if row["status"] == "complete"]
        if not good:
            continue
        scale = scaling.frame.definition.arm(size.arm).scale
        figure.add_scatter(
            x=[row["lr.peak"] for row in good],
            y=[row["valid_bpb"] for row in good],
            mode="lines+markers",
            name=scale,
            line={"color": inks[size.arm], "width": 1.5},
            hovertemplate=f"{scale}<br>rate %{{x:.3g}}<br>%{{y:.4f}} bpb<extra></extra>",
        )
        if vertex := vertices.get(math.log(size.params)):
            rate = math.exp(vertex.vertex)
            logs = np.log([row["lr.peak"] for row in good])
            height = float(np.interp(vertex.vertex, logs, [row["valid_bpb"] for row in good]))
            edge = ", at an end of those tried" if vertex.edge else ""
            figure.add_scatter(
                x=[rate],
                y=[height],
                mode="markers",
                name=f"{scale}: chosen",
                showlegend=False,
                marker={"color": inks[size.arm], "size": 13, "symbol": "star-open" if vertex.edge else "star"},
                hovertemplate=f"{scale}: {rate:.3g} chosen{edge}<extra></extra>",
            )
    log_axis(figure, "x", [row["lr.peak"] for row in tried], form=RATE)
    return styled(figure, x="peak learning rate", y="bits per byte (valid)", height=340)


def rate_law_figure(scaling: Scaling, name: str) -> go.Figure:
    """The rate of every size by the fitted law, a band of one standard deviation of its exponent, and what it was
    fitted to."""
    law, sizes = scaling.rates[name], scaling.sizes(name)
    colour, figure = COLOURS[0], go.Figure()
    ends = [sizes[0].params, sizes[-1].params]
    ends += [scaling.answers[name]["params"]] if name in scaling.answers else []
    n = np.geomspace(min(ends), max(ends), 40)
    away = np.log(n) - law.centre

    def curve(exponent: float) -> list[float]:
        return np.clip(np.exp(law.level + exponent * away), law.low, law.high).tolist()

    if law.exponent_sd:
        one, other = curve(law.exponent - law.exponent_sd), curve(law.exponent + law.exponent_sd)
        figure.add_scatter(
            x=[*n.tolist(), *n[::-1].tolist()], y=[*one, *other[::-1]],
            fill="toself", mode="lines", fillcolor=faint(colour), line={"width": 0},
            name="± sd of the exponent", showlegend=False, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=n.tolist(), y=curve(law.exponent), mode="lines", name=f"N^{law.exponent:.3f}",
        line={"color": colour, "width": 2}, hovertemplate="%{x:.4g} parameters<br>rate %{y:.3g}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[math.exp(t.size) for t in law.tried], y=[math.exp(t.vertex) for t in law.tried],
        mode="markers", name="best of those tried", marker={"color": COLOURS[1], "size": 8},
        hovertemplate="%{x:.4g} parameters<br>rate %{y:.3g}<extra></extra>",
    )  # fmt: skip
    log_axis(figure, "x", n.tolist())
    log_axis(figure, "y", curve(law.exponent), form=RATE)
    return styled(figure, x="parameters N", y="peak learning rate", height=340)


def curves_figure(scaling: Scaling, name: str, *, budget: str) -> go.Figure:
    """Valid bits per byte of every point against what it had spent; what it went on from is counted, not drawn."""
    figure, inks, seen, ends = go.Figure(), size_colours(scaling, name), set[str](), list[float]()
    for row in scaling.points(name):
        if row["key"] not in scaling.frame.curves:
            continue
        x, y = along(row, scaling.frame.curves[row["key"]], budget)
        if not len(x):
            continue
        size = scaling.size(row)
        ends += x.tolist()
        figure.add_scatter(
            x=x.tolist(),
            y=y.tolist(),
            mode="lines+markers",
            name=size,
            legendgroup=size,
            showlegend=size not in seen,
            line={"color": inks[row["arm"]], "width": 1.2},
            marker={"size": 4},
            hovertemplate=f"{size}, level {scaling.level(row)}, seed {row['seed']}<br>%{{x:.4g}} {BUDGETS[budget]}"
            "<br>%{y:.4f} bpb<extra></extra>",
        )
        seen.add(size)
    log_axis(figure, "x", ends, form="~s" if budget == "tokens" else FLOPS)
    return styled(figure, x=BUDGETS[budget], y="bits per byte (valid)")


def size_colours(scaling: Scaling, name: str) -> dict[str, str]:
    """A colour for each size of an arm, from dark to light as it grows."""
    sizes = scaling.sizes(name)
    return dict(zip((size.arm for size in sizes), shades("Plasma", len(sizes)), strict=True))
