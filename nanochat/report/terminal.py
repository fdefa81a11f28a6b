"""A study's results as tables for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from nanochat.report.analysis import Analysis, ScaleFinding
from nanochat.report.frame import Frame, number_text, param_text
from nanochat.report.words import difference_text


def arms_tables(analysis: Analysis) -> list[Table]:
    """A table for each scale: one line an arm, best setting, seeds, score, difference, verdict; 80 columns."""
    return [_arms(analysis, scale) for scale in analysis.scales]


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


def _arms(analysis: Analysis, scale: ScaleFinding) -> Table:
    frame, baseline = analysis.frame, analysis.frame.definition.reading.baseline
    where = f" at {scale.scale}" if scale.scale else ""
    title = f"{frame.name}{where}: test bits per byte, lower is better"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("arm", overflow="fold")
    for axis in frame.axes:
        table.add_column(axis, justify="right")
    for name in ("seeds", "mean", "± sd", f"to {baseline or 'leader'}"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for arm in scale.arms:
        result = arm.result
        params = [param_text(result.best.get(axis)) + ("*" if axis in result.edges else "") for axis in frame.axes]
        seeds = f"{len(result.finite)}/{len(result.scores)}"
        numbers = [number_text(result.mean), number_text(result.sd), difference_text(arm.standing.difference)]
        name = arm.name.removesuffix(f" @ {scale.scale}") if scale.scale else arm.name
        style = "bold" if arm is scale.leader else None
        table.add_row(Text(name), *map(Text, params), seeds, *numbers, arm.standing.word, style=style)
    if any(arm.result.edges for arm in scale.arms):
        table.caption = "* at the edge of its range: the optimum may lie outside"
        table.caption_justify = "left"
    return table
