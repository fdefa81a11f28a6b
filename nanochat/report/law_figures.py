"""Figures of a fitted law, each from its record alone (docs/law.md): loss against compute and size, residuals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from nanochat.law import recorded
from nanochat.law.forms import of_shape
from nanochat.report.figures import COLOURS, SYMBOLS, faint, log_axis, shades, styled
from nanochat.report.planned import short

Record = Mapping[str, Any]

AXES = {
    "c": "training compute, FLOPs",
    "n": "parameters N",
    "d": "training tokens D",
    "predicted": "predicted loss",
}

FLOPS = ".0e"

# A legend of more levels hides the figure on a phone; pointing at a run tells its level too.
MOST_LEVELS = 10


def frontier_figure(records: Mapping[str, Record], *, unit: str = "loss", floor: float | None = None) -> go.Figure:
    """The lowest loss that compute buys by each law, its band, and the runs. `floor`: an entropy that is known."""
    figure = go.Figure()
    for place, (name, record) in enumerate(records.items()):
        colour, prefix = COLOURS[place % len(COLOURS)], f"{name}: " if len(records) > 1 else ""
        line = [row for row in record.get("frontier", ()) if row["loss"] is not None]
        if line:
            band(figure, line, "loss", colour=colour, name=f"{prefix}lowest loss")
            figure.add_scatter(
                x=[row["c"] for row in line],
                y=[row["loss"] for row in line],
                mode="lines",
                name=f"{prefix}lowest loss",
                line={"color": colour, "width": 2},
                hovertemplate="%{x:.3g} FLOPs<br>%{y:.4f}<extra></extra>",
            )
        figure.add_scatter(
            x=[row["c"] for row in record["rows"]],
            y=[row["loss"] for row in record["rows"]],
            text=[_hover(row) for row in record["rows"]],
            mode="markers",
            name=f"{prefix}runs",
            marker={"color": colour, "size": 6, "symbol": SYMBOLS[place % len(SYMBOLS)] + "-open"},
            hovertemplate="%{text}<br>%{x:.3g} FLOPs<br>%{y:.4f}<extra></extra>",
        )
        if told := record.get("answers", {}).get("loss"):
            figure.add_scatter(
                x=[record["at"]],
                y=[told["value"]],
                error_y=_bars(told),
                mode="markers",
                name=f"{prefix}the answer",
                marker={"color": colour, "size": 11, "symbol": "star"},
                hovertemplate="%{x:.3g} FLOPs<br>%{y:.4f}<extra></extra>",
            )
    compute = [c for record in records.values() for c in _computes(record)]
    if floor is not None and compute:
        figure.add_scatter(
            x=[min(compute), max(compute)],
            y=[floor, floor],
            mode="lines",
            name="entropy of the corpus",
            line={"color": "#666", "width": 1.2, "dash": "dot"},
            hovertemplate="entropy of the corpus<br>%{y:.4f}<extra></extra>",
        )
    log_axis(figure, "x", compute, form=FLOPS)
    return styled(figure, x=AXES["c"], y=unit, height=440)


def isoflop_figure(record: Record, *, unit: str = "loss") -> go.Figure:
    """Loss against size at each level of compute, the law's curve through it, and the minima that approach 2 sees."""
    figure = go.Figure()
    for level, colour in level_colours(record).items():
        rows = sorted((row for row in record["rows"] if row["level"] == level), key=lambda row: row["n"])
        middle = math.exp(sum(math.log(row["c"]) for row in rows) / len(rows))
        name = "single runs" if level is None else f"{middle:.3g} FLOPs"
        figure.add_scatter(
            x=[row["n"] for row in rows],
            y=[row["loss"] for row in rows],
            text=[_hover(row) for row in rows],
            mode="markers",
            name=name,
            legendgroup=name,
            marker={"color": colour, "size": 7},
            hovertemplate="%{text}<br>%{x:.4g} parameters<br>%{y:.4f}<extra></extra>",
        )
        curve = _law_at(record, middle, low=rows[0]["n"], high=rows[-1]["n"]) if level is not None else None
        if curve:
            figure.add_scatter(
                x=curve[0],
                y=curve[1],
                mode="lines",
                name=f"{name}: the law",
                legendgroup=name,
                showlegend=False,
                line={"color": colour, "width": 1.5},
                hoverinfo="skip",
            )
    for approach in _isoflops(record):
        if approach["minima"]:
            figure.add_scatter(
                x=[each["params"] for each in approach["minima"]],
                y=[each["loss"] for each in approach["minima"]],
                text=[f"{each['c']:.3g} FLOPs" for each in approach["minima"]],
                mode="markers",
                name=f"minimum, {approach['method']}",
                marker={"color": "#000", "size": 11, "symbol": _minimum(approach["method"])},
                hovertemplate="%{text}<br>%{x:.4g} parameters<br>%{y:.4f}<extra></extra>",
            )
    log_axis(figure, "x", [row["n"] for row in record["rows"]])
    if len(level_colours(record)) > MOST_LEVELS:
        figure.update_traces(selector=_is_level, showlegend=False)
    return styled(figure, x=AXES["n"], y=unit, height=440)


def residuals_figure(record: Record, against: Literal["n", "d", "predicted"]) -> go.Figure:
    """How far runs lie above the law, in percent of their loss; no trend should be left."""
    figure = go.Figure()
    for level, colour in level_colours(record).items():
        rows = [row for row in record["rows"] if row["level"] == level]
        figure.add_scatter(
            x=[row[against] for row in rows],
            y=[100 * math.expm1(row["residual"]) for row in rows],
            text=[_hover(row) for row in rows],
            mode="markers",
            name="single runs" if level is None else f"level {level}",
            marker={"color": colour, "size": 6},
            hovertemplate="%{text}<br>%{x:.4g}<br>%{y:+.2f}%<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": "#888", "width": 1})
    figure.update_layout(showlegend=False)  # the colours are those of the levels above
    if against != "predicted":
        log_axis(figure, "x", [row[against] for row in record["rows"]])
    return styled(figure, x=AXES[against], y="loss above the law, %", height=300)


def level_colours(record: Record) -> dict[int | None, str]:
    """Levels of compute from dark to light, in order; runs of no level are grey."""
    levels = sorted({row["level"] for row in record["rows"] if row["level"] is not None})
    found: dict[int | None, str] = dict(zip(levels, shades("Viridis", len(levels)), strict=True))
    if any(row["level"] is None for row in record["rows"]):
        found[None] = "#888888"
    return found


def band(figure: go.Figure, line: Sequence[Mapping[str, Any]], what: str, *, colour: str, name: str) -> None:
    """95% of what the laws of runs drawn again say of `what` along a frontier."""
    whole = [row for row in line if row[f"{what}_low"] is not None and row[f"{what}_high"] is not None]
    if whole:
        figure.add_scatter(
            x=[row["c"] for row in whole] + [row["c"] for row in reversed(whole)],
            y=[row[f"{what}_high"] for row in whole] + [row[f"{what}_low"] for row in reversed(whole)],
            fill="toself",
            mode="lines",
            fillcolor=faint(colour),
            line={"width": 0},
            name=f"{name}: 95% band",
            showlegend=False,
            hoverinfo="skip",
        )


def _bars(told: Mapping[str, float | None]) -> dict[str, Any] | None:
    if told["low"] is None or told["high"] is None or told["value"] is None:
        return None
    up, down = told["high"] - told["value"], told["value"] - told["low"]
    return {"type": "data", "array": [max(up, 0.0)], "arrayminus": [max(down, 0.0)], "thickness": 1.2}


def _law_at(record: Record, c: float, *, low: float, high: float) -> tuple[list[float], list[float]] | None:
    """The losses of a law of N and D at one compute, over the sizes that were run there."""
    if not record.get("law"):
        return None
    read = recorded.Record.of(record)
    if not of_shape(type(read.law)):
        return None
    n = np.geomspace(low, high, 40)
    return n.tolist(), np.asarray(read.law.loss(n, c / np.asarray(read.compute.per_token(n)))).tolist()


def _is_level(trace: Any) -> bool:
    return trace.legendgroup is not None


def _isoflops(record: Record) -> list[Mapping[str, Any]]:
    return [each for each in record.get("approaches", ()) if each["method"] in ("akima", "parabola")]


def _minimum(method: str) -> str:
    return "triangle-down-open" if method == "akima" else "x-thin-open"


def _hover(row: Mapping[str, Any]) -> str:
    level = "" if row["level"] is None else f", level {row['level']}"
    sizes = [
        f"{short(row[key])} {what}" for key, what in (("n", "parameters"), ("d", "tokens")) if row[key] is not None
    ]
    return f"{row['cluster']}{level}" + (f": {', '.join(sizes)}" if sizes else "")


def _computes(record: Record) -> Iterable[float]:
    yield from (row["c"] for row in record["rows"])
    yield from (row["c"] for row in record.get("frontier", ()))
