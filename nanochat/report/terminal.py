"""A study's results as tables for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from nanochat.report.frame import Frame, difference_text, number_text, param_text


def arms_table(frame: Frame) -> Table:
    """One line an arm: best setting, seeds, test bits per byte, difference to the leader, verdict; 80 columns."""
    table = Table(title=f"{frame.name}: test bits per byte, lower is better", title_justify="left", box=None)
    table.add_column("arm", overflow="fold")
    for axis in frame.axes:
        table.add_column(axis, justify="right")
    for name in ("seeds", "mean", "± sd", "to leader"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for result in frame.results:
        style = "bold" if result is frame.leader else None
        params = [param_text(result.best.get(axis)) + ("*" if axis in result.edges else "") for axis in frame.axes]
        seeds = f"{len(result.finite)}/{len(result.scores)}"
        numbers = [number_text(result.mean), number_text(result.sd), difference_text(result)]
        table.add_row(Text(result.name), *map(Text, params), seeds, *numbers, result.verdict.word, style=style)
    if frame.at_edge:
        table.caption = "* at the edge of its range: the optimum may lie outside"
        table.caption_justify = "left"
    return table


def front_table(frame: Frame) -> Table:
    """The runs that no other beats in every objective, a line each."""
    objectives = frame.definition.objectives
    table = Table(title=f"best trade-offs of {' and '.join(objectives)}", title_justify="left", box=None)
    table.add_column("run", overflow="fold")
    for name in objectives:
        table.add_column(name, justify="right")
    for point in frame.front:
        table.add_row(
            Text(point.label), *(f"{value:,.4f}" if value < 100 else f"{value:,.0f}" for value in point.values)
        )
    return table
