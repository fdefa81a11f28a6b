"""The verdict as one picture, for a README: each difference with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.core.artifact import atomic_path
from nanochat.report.analysis import Analysis, Pair, ScaleFinding
from nanochat.report.forest import WORD_COLOURS, label, seed_differences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, ROW, FRAME = 7.2, 0.3, 0.9
"""Inches."""


def write_picture(analysis: Analysis, path: Path) -> bool:
    """An SVG, the same to the byte for the same study; False, and nothing written, where there is no difference."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    scales = [scale for scale in analysis.scales if scale.pairs]
    if not scales:
        path.unlink(missing_ok=True)
        return False
    heights = [ROW * len(scale.pairs) + FRAME for scale in scales]
    with mpl.rc_context(
        {"svg.hashsalt": "nanochat", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained", facecolor="white")
        rows = figure.subplots(len(scales), 1, squeeze=False, height_ratios=heights, sharex=True)
        for axes, scale in zip(rows[:, 0], scales, strict=True):
            _draw(axes, analysis, scale)
        rows[-1, 0].set_xlabel("difference in bits per byte; below 0 the first is better")
        with atomic_path(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
    return True


def _draw(axes: Axes, analysis: Analysis, scale: ScaleFinding) -> None:
    rope = analysis.frame.definition.reading.rope
    if rope:
        axes.axvspan(-rope, rope, color=WORD_COLOURS["equivalent"], alpha=0.15, linewidth=0)
    axes.axvline(0, color="#1a1a1a", linewidth=0.8)
    for row, pair in enumerate(scale.pairs):
        _row(axes, analysis, pair, row)
    axes.set_yticks(range(len(scale.pairs)), [f"{label(pair, scale)}" for pair in scale.pairs])
    axes.set_ylim(len(scale.pairs) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(scale.scale or analysis.frame.name, loc="left", fontsize=9, fontweight="bold")


def _row(axes: Axes, analysis: Analysis, pair: Pair, row: int) -> None:
    gap, ink = pair.difference, WORD_COLOURS[pair.word]
    seeds = list(seed_differences(analysis, pair).values())
    axes.plot(seeds, [row] * len(seeds), "|", color=ink, alpha=0.5, markersize=7)
    if gap.low is not None and gap.high is not None:
        axes.plot([gap.low, gap.high], [row, row], "-", color=ink, linewidth=1.6)
    axes.plot([gap.mean], [row], "o", color=ink, markersize=5)
    axes.annotate(
        pair.word, (1.0, row), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
        va="center", color=ink, fontsize=8, annotation_clip=False,
    )  # fmt: skip
