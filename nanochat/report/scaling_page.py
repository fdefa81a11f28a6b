"""`report.html` of a scaling study: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.report import scaling_words
from nanochat.report.frame import number_text, param_text
from nanochat.report.law_figures import frontier_figure, isoflop_figure
from nanochat.report.law_page import shown
from nanochat.report.page import div, render
from nanochat.report.provenance import command, configs, sources
from nanochat.report.scaling import Scaling
from nanochat.report.scaling_figures import curves_figure, rate_law_figure, rates_figure

UNIT = "bits per byte (test)"


def write_scaling_page(scaling: Scaling, path: Path) -> None:
    """Render the study to `path`, atomically."""
    frame = scaling.frame
    render(
        "scaling.html.j2",
        path,
        filters={"number": number_text, "param": param_text, "percent": lambda value: f"{value:.0%}"},
        frame=frame,
        scaling=scaling,
        question=scaling_words.question(scaling),
        verdict=scaling_words.verdict(scaling),
        estimand=scaling_words.estimand(scaling),
        caveats=scaling_words.caveats(scaling),
        frontier=div(frontier_figure(scaling.told, unit=UNIT, floor=scaling.entropy))
        if frame.complete("point")
        else None,
        arms=[_arm(scaling, name) for name in scaling.names],
        samples=[(each["arm"], each) for each in frame.evidence.get("samples", {}).values()],
        sources=sources(frame),
        configs=configs(frame),
        command=command(frame),
    )


def _arm(scaling: Scaling, name: str) -> Mapping[str, Any]:
    """What is shown of one arm; None or empty where there is nothing."""
    points, tried = scaling.points(name), scaling.rows(name, "tune")
    curved = any(row["key"] in scaling.frame.curves for row in points)
    record = scaling.records.get(name)
    return {
        "name": name,
        "law": shown(record, unit=UNIT) if record else None,
        "points": div(isoflop_figure(scaling.told[name], unit=UNIT)) if points and not record else None,
        "answer": scaling.answers.get(name),
        "grid": scaling.grid(name),
        "levels": scaling.levels(name),
        "spent": scaling.spent[name],
        "rates": div(rates_figure(scaling, name)) if any(row["status"] == "complete" for row in tried) else None,
        "rate_law": div(rate_law_figure(scaling, name)) if tried and name in scaling.rates else None,
        "curves": [div(curves_figure(scaling, name, budget=budget)) for budget in ("tokens", "flops")]
        if curved
        else [],
        "checklist": list(scaling_words.checklist(scaling, name)),
    }
