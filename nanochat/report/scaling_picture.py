"""The laws of a scaling study as one picture, for a README: loss against compute, runs, and the bands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.core.artifact import atomic_path
from nanochat.report.figures import COLOURS
from nanochat.report.scaling import Scaling
from nanochat.report.scaling_law import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (7.2, 3.6)
"""Inches."""

MARKS = ("o", "s", "D", "^", "X", "P", "*")


def write_scaling_picture(scaling: Scaling, path: Path) -> bool:
    """An SVG, the same to the byte for the same study; False, and nothing written, where no point is complete."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if not scaling.frame.complete("point"):
        path.unlink(missing_ok=True)
        return False
    with mpl.rc_context(
        {"svg.hashsalt": "nanochat", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
        axes = figure.subplots()
        for place, (name, record) in enumerate(scaling.told.items()):
            _draw(axes, f"{name}: " if len(scaling.told) > 1 else "", record, place=place)
        axes.set_xscale("log")
        axes.set_xlabel("training compute, FLOPs")
        axes.set_ylabel("bits per byte (test)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        with atomic_path(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
    return True


def _draw(axes: Axes, prefix: str, record: Record, *, place: int) -> None:
    ink = COLOURS[place % len(COLOURS)]
    axes.plot(
        [row["c"] for row in record["rows"]], [row["loss"] for row in record["rows"]], MARKS[place % len(MARKS)],
        color=ink, markersize=4, alpha=0.7, fillstyle="none", label=f"{prefix}runs",
    )  # fmt: skip
    line = [row for row in record.get("frontier", ()) if row["loss"] is not None]
    if not line:
        return
    compute = [row["c"] for row in line]
    axes.plot(compute, [row["loss"] for row in line], color=ink, linewidth=1.6, label=f"{prefix}lowest loss by the law")
    banded = [row for row in line if row["loss_low"] is not None and row["loss_high"] is not None]
    low, high = ([row[f"loss_{end}"] for row in banded] for end in ("low", "high"))
    axes.fill_between([row["c"] for row in banded], low, high, color=ink, alpha=0.15, linewidth=0)
    told = record["answers"]["loss"] if record["answers"] else None
    if told and told["low"] is not None and told["high"] is not None:
        axes.plot([record["at"]] * 2, [told["low"], told["high"]], "-", color=ink, linewidth=1.2)
        axes.plot([record["at"]], [told["value"]], "*", color=ink, markersize=9)
