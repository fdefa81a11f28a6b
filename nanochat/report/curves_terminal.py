"""Training curves in a terminal: some small figures and a line for each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import plotext
from rich.console import Group
from rich.table import Table
from rich.text import Text

from nanochat.report.curves import TITLES, X_TITLES, Curve, Series, X, differing, panels, series, train_name
from nanochat.report.figures import COLOURS
from nanochat.report.frame import number_text
from nanochat.study.watch import clock

# One each for the runs, in turn: what tells them apart where there are no colours.
MARKERS = "●■▲◆▼★"
NARROWEST, LOWEST, HIGHEST = 36, 8, 14
LISTED = 10


def view(
    curves: Sequence[Curve], *, wanted: Sequence[str], x: X, smooth: float, width: int, height: int | None
) -> Group:
    """The whole picture. width, height: of the terminal; None where what does not fit scrolls away."""
    names = panels(wanted, curves)
    across = 2 if len(names) > 1 and width >= 2 * NARROWEST else 1
    rows = [names[i : i + across] for i in range(0, len(names), across)]
    left = HIGHEST * len(rows) if height is None else height - min(len(curves), LISTED) - 5
    tall = max(LOWEST, min(HIGHEST, left // max(1, len(rows))))
    grid = [Table.grid(padding=0) for _ in rows]
    for table, row in zip(grid, rows, strict=True):
        size = width // len(row)
        table.add_row(*(panel(name, curves, x=x, smooth=smooth, width=size, height=tall) for name in row))
    return Group(*grid, legend(names, x=x, smooth=smooth), statuses(curves, width=width))


def panel(name: str, curves: Sequence[Curve], *, x: X, smooth: float, width: int, height: int) -> Text:
    """One figure of `width` × `height` characters."""
    title, log = TITLES.get(name, (name, False))
    drawn = [(i, s) for i, curve in enumerate(curves) for s in shown(series(name, curve, x=x, smooth=smooth), log=log)]
    if not drawn:
        return Text("\n".join([title.center(width), *[" " * width] * (height // 2 - 2), "nothing yet".center(width)]))
    figure = plotext.figure  # the library's one figure, cleared for every use
    figure.clear()
    figure.theme("colorless").plot_size(width, height).title(title).legend(False)
    for i, part in drawn:
        sign = {"dots": MARKERS[i % len(MARKERS)], "edge": "·"}.get(part.mark, "braille")
        signal = figure.signal(part.x, part.y, marker=plotext.marker(sign, colour(i)))
        figure.draw(signal.lines(part.mark in ("line", "top")))
    low, high = limits([value for _, part in drawn for value in part.y], room=1e-3)
    _ruler("y", low, high, at=powers(low, high) if log else ticks(low, high, count=3), shown=unlogged if log else brief)
    low, high = limits([0.0, *(value for _, part in drawn for value in part.x)], room=1.0)
    _ruler("x", low, high, at=ticks(low, high, count=width // 12), shown=brief)
    return Text.from_ansi(figure.build().string())


def _ruler(axis: str, low: float, high: float, *, at: Sequence[float], shown: Callable[[float], str]) -> None:
    ruler = plotext.figure.ruler(axis)
    ruler.lim(low, high)
    ruler.ticks(list(at), [shown(value) for value in at])


def shown(found: Sequence[Series], *, log: bool) -> list[Series]:
    """What has points and a place in a terminal; on a log axis the logarithms of what is above zero."""
    kept = []
    for part in found:
        points = [(a, math.log10(b) if log else b) for a, b in zip(part.x, part.y, strict=True) if b > 0 or not log]
        if points and part.mark != "faint":
            kept.append(Series(part.name, part.mark, [a for a, _ in points], [b for _, b in points]))
    return kept


def limits(values: Sequence[float], *, room: float) -> tuple[float, float]:
    """The ends of an axis: those of the values, with some room where they are all the same."""
    low, high = min(values), max(values)
    room = room * (abs(low) or 1.0)
    return (low, high) if low < high else (low - room, high + room)


def ticks(low: float, high: float, *, count: int) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[float]:
    """Where an axis of logarithms has its ticks: at powers of ten, and where those are few at 2 and 5 times them."""
    whole = [float(p) for p in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) > 2:
        return whole
    fine = [p + math.log10(m) for p in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [value for value in fine if low <= value <= high] or [low, high]


def unlogged(value: float) -> str:
    return f"{10**value:.3g}"


def brief(value: float) -> str:
    """`12k`, `1.5M`, `0.003`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def colour(i: int) -> tuple[int, int, int] | None:
    """A run's colour; the palette's black is the terminal's own, which may be white."""
    text = COLOURS[i % len(COLOURS)]
    return None if text == "#000000" else (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))


def legend(names: Sequence[str], *, x: X, smooth: float) -> Text:
    """What the lines and signs are."""
    parts = [f"across: {X_TITLES[x]}"]
    parts += [f"loss: line {train_name(smooth)}, signs valid"] if "loss" in names else []
    parts += ["logits: mean, ± sd dotted, largest above"] if "logits" in names else []
    return Text(" · ".join(parts), style="dim")


def statuses(curves: Sequence[Curve], *, width: int) -> Table:
    """A line for each run, those at work first."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=width)
    numbers = (("tokens", 7), ("done", 4), ("left", 7), ("train", 6), ("valid bpb", 9))
    table.add_column("", width=1)
    table.add_column("run", no_wrap=True, overflow="ellipsis", width=max(8, width - 51))
    table.add_column("status", no_wrap=True, width=9)
    for name, size in numbers:
        table.add_column(name, justify="right", width=size, no_wrap=True)
    differ = differing(curves) if len(curves) > 1 else {}
    order = sorted(range(len(curves)), key=lambda i: not curves[i].at_work)
    for i in order[:LISTED]:
        curve = curves[i]
        known = curve.label.split()
        what = [f"{key}={values[i]}" for key, values in differ.items() if values[i] not in known]
        left = curve.seconds_left
        rgb = colour(i)
        table.add_row(
            Text(MARKERS[i % len(MARKERS)], style="" if rgb is None else "rgb({},{},{})".format(*rgb)),
            Text(" ".join([curve.label, *what])),
            curve.status,
            brief(curve.tokens),
            f"{curve.tokens / curve.total:.0%}" if curve.total else "–",
            clock(left) if left is not None else "–",
            number_text(curve.last("train_loss"), 3),
            number_text(curve.last("valid_bpb")),
        )
    if len(curves) > LISTED:
        table.add_row("", f"… and {len(curves) - LISTED} more")
    return table
