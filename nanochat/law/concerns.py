"""What is wrong with a law that was told, gathered from every check: `checks` says how each is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nanochat.law.approaches import Comparison, Told
from nanochat.law.asked import Asked
from nanochat.law.checks import Finding, of_comparison, of_fit, of_isoflop, of_rows, of_target, of_warm_up
from nanochat.law.form import Law
from nanochat.law.forms import of_shape
from nanochat.law.isoflop import approach_2
from nanochat.law.table import Points

# Coefficients of a power are known no better than the power: however wide, that is no finding.
SCALES = ("A", "B", "C", "Nc", "Dc")


def of_number(points: Points, form: type[Law]) -> list[Finding]:
    """Fewer rows than numbers tell no law."""
    rows, numbers = len(points.loss), len(form.names())
    if rows > numbers:
        return []
    text = f"has {rows} rows that count, and {form.title} has {numbers} numbers"
    return [Finding("few_rows", "refuse", text, "add runs, or take a smaller form")]


def concerns(asked: Asked, record: Mapping[str, Any], compared: Comparison | None) -> Sequence[Finding]:
    """Of the rows, the fit and the target; `record`: what was told so far · compared: the approaches, None for a form
    or a law without best shapes."""
    points = asked.points
    found = of_rows(points.excluded, used=len(points.loss))
    if "warm_up" in points.inputs:
        found += of_warm_up(points.inputs["warm_up"], points.d)
    intervals = {name: Told(each["value"], each["low"], each["high"]) for name, each in record["told"].items()}
    certificate = replace(asked.found.certificate, ridge=tuple(record["certificate"]["ridge"]))
    known = {name: each for name, each in intervals.items() if each.low is not None and name not in SCALES}
    found += of_fit(certificate, intervals=known)
    if record["at"] is not None:
        found += of_target(points.c, at=asked.at)
    if of_shape(asked.form) and compared is None:
        text = f"the law has no best size at {asked.at:.3g} FLOPs"
        found.append(Finding("no_best", "warn", text, "add runs of more sizes and lengths"))
    if compared is not None:
        flops = asked.compute.of(points.n, points.d)
        # What is refused of approach 2 is no refusal of the law, which the other budgets tell as well.
        budgets = of_isoflop(approach_2(points.n, flops, points.loss, compute=asked.compute))
        found += [replace(f, severity="warn") for f in budgets if f.code in ("isoflop_edge", "isoflop_upside_down")]
        found += of_comparison(compared)
    return found
