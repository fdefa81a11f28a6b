"""`report.html`: a study on one page, the verdict first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.report import search, tradeoffs, words
from nanochat.report.across import across
from nanochat.report.analysis import Analysis, ScaleFinding
from nanochat.report.details import by_kind, power_figure, reliability
from nanochat.report.documents import KINDS
from nanochat.report.forest import forest, label
from nanochat.report.frame import number_text, param_text
from nanochat.report.learning import learning_curves
from nanochat.report.models import MEASURES, models
from nanochat.report.page import div, render
from nanochat.report.provenance import command, configs, sources
from nanochat.report.views import BUDGETS


def write_page(analysis: Analysis, path: Path) -> None:
    """Render the study to `path`, atomically."""
    frame = analysis.frame
    render(
        "report.html.j2",
        path,
        filters={
            "number": number_text,
            "param": param_text,
            "difference": words.difference_text,
            "seeds_text": words.seeds_text,
            "percent": lambda value: "–" if value is None else f"{value:.1%}",
        },
        frame=frame,
        analysis=analysis,
        question=words.question(frame),
        verdict=words.verdict(analysis),
        caveats=words.caveats(analysis),
        estimand=words.estimand(analysis),
        scales=[_scale(analysis, scale) for scale in analysis.scales],
        across=div(across(analysis)) if analysis.trends else None,
        views=analysis.views,
        budgets=BUDGETS,
        models=models(analysis),
        measures=MEASURES,
        objectives=div(tradeoffs.objectives_figure(frame)) if len(frame.definition.objectives) > 1 else None,
        slices=[(axis, div(search.search_slice(frame, axis))) for axis in search.searched(frame)],
        importances=search.importances(frame),
        reference=_reference(analysis),
        sources=sources(frame),
        configs=configs(frame),
        command=command(frame),
        label=label,
    )


def _scale(analysis: Analysis, scale: ScaleFinding) -> Mapping[str, Any]:
    """What the page shows of one scale; figures are None where there is nothing to draw."""
    frame, names = analysis.frame, [arm.name for arm in scale.arms]
    there = [name for name in names if frame.confirming(name)]
    curves = [name for name in there if any(row["key"] in frame.curves for row in frame.confirming(name))]
    scored = [name for name in there if analysis.documents.keys[name]]
    powered = scale.noise is not None and scale.noise.smallest is not None
    return {
        "found": scale,
        "forest": div(forest(analysis, scale)) if scale.pairs else None,
        "curves": {b: div(learning_curves(frame, curves, budget=b)) for b in BUDGETS} if curves else {},
        "costs": {c: div(tradeoffs.cost_figure(frame, c)) for c in tradeoffs.COSTS}
        if scale is analysis.scales[-1] and not analysis.obstacles
        else {},
        "kinds": {kind: div(by_kind(analysis, kind, scored)) for kind in KINDS} if scored else {},
        "reliability": div(reliability(analysis, scored)) if scored else None,
        "power": div(power_figure(scale.noise)) if powered and scale.noise else None,
    }


def _reference(analysis: Analysis) -> Mapping[str, float | None]:
    """What scores can be held against: the unigram's, and the entropy of a corpus that has a known one."""
    arms = [arm for arm in analysis.frame.evidence.get("arms", {}).values() if arm]
    return arms[0]["reference"] if arms else {}
