"""The record of a law at 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nanochat.report.law_words import NAMES, few_cuts

Told = Mapping[str, Any]


def show(record: Told, console: Console) -> None:
    """The law, what it answers, what contradicts it, and whether to believe it."""
    rows, excluded = record["rows"], record["excluded"]
    left_out = ", ".join(f"{count} {reason}" for reason, count in excluded.items())
    console.print(record["form"]["equation"])
    runs = record["interval"]["clusters"]
    console.print(f"{len(rows)} rows of {runs} runs" + (f" (left out: {left_out})" if left_out else ""))
    console.print()
    console.print(_numbers(record))
    if record["approaches"]:
        console.print()
        grid, missing = _approaches(record["approaches"])
        console.print(grid)
        for text in dict.fromkeys(missing):
            console.print(text)
    console.print()
    _held_out(record["held_out"], console)
    console.print(believed(record["certificate"]))
    for finding in record["findings"]:
        console.print(f"warning: {finding['text']}; {finding['remedy']}")


def number(value: float | None) -> str:
    """`0.3473`, `7.32e10`; a dash for none."""
    if value is None or not np.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:#.4g}".rstrip(".")
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def between(low: float | None, high: float | None) -> str:
    """`0.32 to 0.37`; open where an end is not known."""
    return f"{number(low)} to {number(high)}"


def believed(sure: Told) -> str:
    """The certificate in words."""
    parts = [f"{sure['agree']:.0%} of {sure['starts']} starts agree"]
    parts.append(f"the best moved by {sure['moved']:.2f} in its exponents")
    parts += [f"on a bound: {', '.join(sure['bounds'])}"] if sure["bounds"] else []
    parts += [f"left open by the rows: {', '.join(sure['ridge'])}"] if sure["ridge"] else []
    return "; ".join(parts)


def _numbers(record: Told) -> Table:
    grid = Table(box=None, pad_edge=False)
    for name in ("", "", "95% by runs drawn again", "95% by likelihood"):
        grid.add_column(name, justify="left" if not grid.columns else "right")
    for name, item in record["told"].items():
        grid.add_row(
            NAMES.get(name, name), number(item["value"]), between(item["low"], item["high"]), between(*item["profile"])
        )
    if record["answers"]:
        six = record["definitions"]["c"] == "6ND"
        grid.add_row(f"at {number(record['at'])} FLOPs", "", "C = 6ND" if six else "C as measured")
    for name, item in record["answers"].items():
        ends = between(*item["profile"]) if "profile" in item else ""
        grid.add_row(NAMES.get(name, name), number(item["value"]), between(item["low"], item["high"]), ends)
    return grid


def _approaches(found: Sequence[Told]) -> tuple[Table, list[str]]:
    """Side by side, and why some have no answer."""
    grid, missing = Table(box=None, pad_edge=False), []
    for name in ("approach", "a", "N*", "D*"):
        grid.add_column(name, overflow="fold")
    for one in found:
        name = f"{one['name'].removeprefix('approach ')}, {one['method']}"
        if one["a"] is None:
            missing.append(f"{name}: {one['missing']}")
            continue
        grid.add_row(name, *(_brief(one[key]) for key in ("a", "params", "tokens")))
    return grid, missing


def _brief(item: Told) -> str:
    """`0.51 (0.48–0.56)`."""
    value, low, high = (_short(item[key]) for key in ("value", "low", "high"))
    return f"{value} ({low}–{high})" if item["low"] is not None else value


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1e}".replace("e+", "e")


def _held_out(cuts: Sequence[Told], console: Console) -> None:
    if not cuts:
        console.print("held out: too few runs to leave the largest budgets out")
        return
    console.print("held out: fitted without the largest budgets, on those it is")
    for cut in few_cuts(cuts):
        rows = f"{cut['rows']} row{'s' if cut['rows'] > 1 else ''}"
        console.print(f"  {cut['error']:.2%} off ({cut['bias']:+.2%}), {cut['ratio']:.1f} times further, {rows}")
