"""A scaling study at 80 columns: losses by size and level, the laws, the answers."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nanochat.report import law_words, scaling_words
from nanochat.report.frame import number_text
from nanochat.report.planned import short
from nanochat.report.scaling import Scaling

# Levels that stand beside one another at 80 columns.
ABREAST = 6


def grid_tables(scaling: Scaling) -> Iterator[RenderableType]:
    """Test bits per byte of each arm: a line a size, a column a level, the best of a level bold."""
    for name in scaling.names:
        levels = list(scaling.levels(name).items())
        of = f" {name}:" if len(scaling.names) > 1 else ""
        # Not the table's own title, which would be as narrow as the table.
        yield Text(f"{scaling.frame.name}:{of} test bits per byte by size and FLOPs, lower is better", style="italic")
        if not levels:
            yield Text(" no point is complete")
        for first in range(0, len(levels), ABREAST):
            yield _grid(scaling, name, dict(levels[first : first + ABREAST]))


def law_tables(scaling: Scaling) -> Iterator[RenderableType]:
    """What is told of each law, with intervals."""
    for name, record in scaling.records.items():
        title = f"{scaling.label(name)}: {record['form']['equation']}, answers at {record['at']:.3g} FLOPs"
        yield Text(title, style="italic")
        table = Table(box=None)
        for column in ("", "value", "95% interval", "by profile"):
            table.add_column(column, justify="right" if column else "left")
        for row in law_words.numbers(record):
            table.add_row(*map(Text, row))
        yield table


def view(scaling: Scaling) -> Iterator[RenderableType]:
    """All of it: tables, the answers in words with the commands that train them, what limits them, what it cost."""
    yield from grid_tables(scaling)
    yield from law_tables(scaling)
    for sentence in scaling_words.verdict(scaling):
        yield Text(sentence)
    for caveat in scaling_words.caveats(scaling):
        yield Text(f"· {caveat}", style="dim")
    yield spent_line(scaling)


def spent_line(scaling: Scaling) -> Text:
    """What the study cost, and what branches saved."""
    spent = list(scaling.spent.values())
    whole, trained, rates = (sum(each[key] for each in spent) for key in ("whole", "trained", "rates_flops"))
    saved = f", {1 - trained / whole:.0%} less than runs apart" if whole > trained else ""
    points, tried = (sum(int(each[key]) for each in spent) for key in ("points", "rates"))
    return Text(f"{points} points: {trained:.3g} FLOPs{saved} · {tried} rates tried: {rates:.3g} FLOPs")


def _grid(scaling: Scaling, name: str, levels: dict[int, float]) -> Table:
    table = Table(box=None)
    table.add_column("size", overflow="fold")
    table.add_column("params", justify="right")
    for flops in levels.values():
        table.add_column(f"{flops:.2g}", justify="right")
    for size in scaling.grid(name):
        if any(k in size.cells for k in levels):
            cells = [Text(number_text(size.cells.get(k)), style="bold" if k in size.best else "") for k in levels]
            table.add_row(Text(size.name), short(size.params), *cells)
    return table
