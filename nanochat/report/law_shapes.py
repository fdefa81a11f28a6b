"""The best shape against compute, from the record of a law alone: the fit with its band, and the other approaches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import plotly.graph_objects as go

from nanochat.report.figures import COLOURS, DASHES, SYMBOLS, log_axis, styled
from nanochat.report.law_figures import AXES, FLOPS, Record, band

Shape = Literal["params", "tokens", "ratio"]

TITLES: Mapping[Shape, str] = {
    "params": "best parameters N*",
    "tokens": "best tokens D*",
    "ratio": "tokens per parameter",
}

# How far an axis goes beyond what lies in it.
BEYOND = 3.0


def shape_figure(record: Record, what: Shape) -> go.Figure:
    """The best parameters, tokens, or tokens per parameter against compute: the fit with its band, and the others."""
    figure, line = go.Figure(), [row for row in record["frontier"] if row["params"] is not None]
    ends = [_value(row, what) for row in line]
    band(figure, [{**row, **_ratios(row)} for row in line], what, colour=COLOURS[0], name="approach 3")
    figure.add_scatter(
        x=[row["c"] for row in line],
        y=ends,
        mode="lines",
        name="approach 3 (fit)",
        line={"color": COLOURS[0], "width": 2},
        hovertemplate="%{x:.3g} FLOPs<br>%{y:.4g}<extra></extra>",
    )
    others = [each for each in record["approaches"] if each["minima"]]
    for place, approach in enumerate(others, start=1):
        name, colour = f"{approach['name']} ({approach['method']})", COLOURS[place % len(COLOURS)]
        figure.add_scatter(
            x=[each["c"] for each in approach["minima"]],
            y=[_value(each, what) for each in approach["minima"]],
            mode="markers",
            name=name,
            legendgroup=name,
            marker={"color": colour, "size": 6, "symbol": SYMBOLS[place]},
            hovertemplate=name + "<br>%{x:.3g} FLOPs<br>%{y:.4g}<extra></extra>",
        )
        if through := _through(approach, what, at=record["at"], first=line[0]["c"] if line else record["at"]):
            figure.add_scatter(
                x=through[0],
                y=through[1],
                mode="lines",
                name=f"{name}: line",
                legendgroup=name,
                showlegend=False,
                line={"color": colour, "width": 1.2, "dash": DASHES[place % len(DASHES)]},
                hoverinfo="skip",
            )
    log_axis(figure, "x", [row["c"] for row in line], form=FLOPS)
    # A band may reach over many decades where the runs do not tell the law: it is drawn as far as the eye can use it.
    seen = [value for value in ends if value] + [v for each in others for m in each["minima"] if (v := _value(m, what))]
    if seen:
        low, high = min(seen) / BEYOND, max(seen) * BEYOND
        log_axis(figure, "y", [low, high])
        figure.update_yaxes(range=[math.log10(low), math.log10(high)])
    return styled(figure, x=AXES["c"], y=TITLES[what], height=380)


def _ratios(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """Tokens per parameter fall as N grows at one compute, so their band is that of N turned round."""
    ends = {"ratio_low": ("tokens_low", "params_high"), "ratio_high": ("tokens_high", "params_low")}
    return {name: _over(row[above], row[below]) for name, (above, below) in ends.items()}


def _value(row: Mapping[str, float], what: Shape) -> float | None:
    return _over(row["tokens"], row["params"]) if what == "ratio" else row[what]


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _through(
    approach: Mapping[str, Any], what: Shape, *, at: float, first: float
) -> tuple[list[float], list[float]] | None:
    """The line of an approach: N* ∝ C^a, and what follows for D* where a token costs about N."""
    if not approach["a"] or not approach["params"] or not approach["tokens"]:
        return None
    a, params, tokens = (approach[key]["value"] for key in ("a", "params", "tokens"))
    exponent, value = {
        "params": (a, params), "tokens": (1 - a, tokens), "ratio": (1 - 2 * a, tokens / params),
    }[what]  # fmt: skip
    return [first, at], [value * (first / at) ** exponent, value]
