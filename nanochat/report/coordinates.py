"""A coordinate check: the size of activations at several widths, its slopes, its verdict and its page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nanochat.report.figures import COLOURS, DASHES, styled
from nanochat.report.page import div, render

KINDS = ("embedding", "attention", "ffn", "stream", "logits")


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """sizes: mean |x| of each activation, [updates + 1, widths, seeds], by name; the first before any update.

    widths: ascending · tolerance: highest |slope|, after any update, that passes · rate: the peak rate, held
    throughout · parts: the options that were trained, by group.
    """

    name: str
    parts: dict[str, str]
    rate: float
    widths: tuple[int, ...]
    tolerance: float
    sizes: dict[str, np.ndarray]

    @property
    def updates(self) -> int:
        """Updates after which activations were measured."""
        return len(next(iter(self.sizes.values()))) - 1

    @property
    def seeds(self) -> int:
        """Replicates."""
        return next(iter(self.sizes.values())).shape[2]

    def slope(self, name: str, update: int) -> float | None:
        """b of mean|x| ∝ width^b after `update` updates: least squares on logarithms, seeds averaged.

        None where all is zero (what starts at zero and has not moved); infinite where some is, or is not a number.
        """
        sizes = self.sizes[name][update]
        if not sizes.any():
            return None
        if not (np.isfinite(sizes).all() and sizes.all()):
            return math.inf
        x, y = np.log(self.widths), np.log(sizes).mean(axis=1)
        return float(np.polyfit(x, y, 1)[0])

    def steepest(self, name: str) -> tuple[int, float | None]:
        """The update after which the slope is farthest from zero, and that slope."""
        slopes = [(update, self.slope(name, update)) for update in range(1, self.updates + 1)]
        return max(slopes, key=lambda item: abs(item[1] or 0.0))

    def flat(self, name: str) -> bool:
        """Whether its size does not follow the width after any update."""
        return abs(self.steepest(name)[1] or 0.0) <= self.tolerance

    def word(self, name: str) -> str:
        """`flat`, `grows` or `shrinks`."""
        if self.flat(name):
            return "flat"
        return "grows" if (self.steepest(name)[1] or 0.0) > 0 else "shrinks"

    @property
    def holds(self) -> bool:
        """Whether every activation is flat."""
        return all(map(self.flat, self.sizes))

    @property
    def verdict(self) -> str:
        """One sentence: µP holds, or which activations speak against it, those that grow the fastest first."""
        steepest = {name: self.steepest(name) for name in self.sizes}
        if self.holds:
            name = max(steepest, key=lambda name: abs(steepest[name][1] or 0.0))
            update, slope = steepest[name]
            return (
                f"µP holds: no activation follows the width beyond ±{self.tolerance:g} "
                f"(steepest: {name}, width^{slope or 0.0:.2f} after {updates_text(update)})"
            )
        bad = sorted((name for name in self.sizes if not self.flat(name)), key=lambda name: -(steepest[name][1] or 0.0))
        said = [
            f"{name} {self.word(name)} like width^{steepest[name][1]:.2f} after {updates_text(steepest[name][0])}"
            for name in bad
        ]
        more = f", and {len(said) - 3} more" if len(said) > 3 else ""
        return f"µP does not hold: {', '.join(said[:3])}{more}"

    def plain(self) -> dict[str, Any]:
        """Sizes, slopes and verdict as plain data; what is not finite is null."""
        updates = range(self.updates + 1)
        return {
            "holds": self.holds,
            "verdict": self.verdict,
            "widths": list(self.widths),
            "activations": {
                name: {
                    "verdict": self.word(name),
                    "slopes": [finite(self.slope(name, update)) for update in updates],
                    "mean_abs": [[[finite(v) for v in seeds] for seeds in widths] for widths in sizes.tolist()],
                }
                for name, sizes in self.sizes.items()
            },
        }


def finite(value: float | None) -> float | None:
    """The value where JSON has it."""
    return value if value is not None and math.isfinite(value) else None


def slope_text(slope: float | None) -> str:
    """`+0.12`; a dash where everything is zero."""
    return "–" if slope is None else f"{slope:+.2f}"


def updates_text(count: int) -> str:
    return f"{count} update{'' if count == 1 else 's'}"


def figure(found: Coordinates, *, update: int) -> go.Figure:
    """Mean |x| against width, both logarithmic, after `update` updates; bars from the lowest seed to the highest."""
    made = go.Figure()
    for name, sizes in found.sizes.items():
        *_, kind = name.split()
        layer = int(name.split()[1]) if name.startswith("block ") else 0
        values = sizes[update]
        if not (np.isfinite(values).all() and values.all()):
            continue
        middle = np.exp(np.log(values).mean(axis=1))
        made.add_scatter(
            x=found.widths,
            y=middle,
            error_y={
                "array": values.max(axis=1) - middle,
                "arrayminus": middle - values.min(axis=1),
                "thickness": 1,
                "width": 2,
            },
            mode="lines+markers",
            name=kind,
            legendgroup=kind,
            showlegend=layer == 0,
            line={"color": COLOURS[KINDS.index(kind)], "width": 1.5, "dash": DASHES[layer % len(DASHES)]},
            marker={"size": 5},
            hovertemplate=f"{name}<br>width %{{x}}<br>mean |x| %{{y:.4g}}<extra></extra>",
        )
    made.update_xaxes(type="log", tickvals=found.widths, ticktext=[str(width) for width in found.widths])
    made.update_yaxes(type="log", dtick=1, exponentformat="power")
    return styled(made, x="width", y="mean |x|", height=340)


def write_page(found: Coordinates, path: Path) -> None:
    """Render the check to `path`, atomically, on one self-contained page."""
    figures = [(update, div(figure(found, update=update))) for update in range(found.updates + 1)]
    render("coordinates.html.j2", path, filters={"slope": slope_text}, found=found, figures=figures)
