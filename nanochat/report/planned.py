"""A study's plan as people read it, at 80 columns."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nanochat.study.matched import Matched
from nanochat.study.plan import Plan


def view(plan: Plan) -> list[RenderableType]:
    """A plan at 80 columns: an arm a line, then what it all comes to."""
    at_most = "at most " if plan.pruned or plan.looks else ""
    table = Table(title=f"{plan.name}: what it will run", title_justify="left", box=None, pad_edge=False)
    for name in ("arm", "params", "tuning", "seeds", "tokens/run", "FLOPs", "time/run"):
        table.add_column(name, justify="left" if name == "arm" else "right", overflow="fold")
    for arm in plan.arms:
        counts = (str(arm.tuning), str(arm.seeds), short(arm.tokens))
        flops, seconds = f"{arm.runs * arm.flops:.2e}", span(arm.seconds)
        table.add_row(Text(arm.name), short(arm.params), *counts, flops, seconds)
    seconds = plan.seconds
    left = "" if plan.left == plan.runs else f"{plan.left} of them to do, "
    lines = [
        f"{plan.runs} runs, {left}{plan.slots} at a time · {at_most}{plan.flops:.2e} FLOPs",
        f"disk: {at_most}{size(plan.disk)} more, {size(plan.free)} free",
    ]
    if seconds is not None and plan.left:
        end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        lines.insert(1, f"time: {at_most or 'about '}{span(seconds)}, done {at_most and 'by '}{clock_time(end)}")
    return [table, *(Text(line) for line in (*lines, *matches(plan.matched), *warnings(plan)))]


def matches(matched: Sequence[Matched]) -> list[str]:
    """How well arms are matched, a line for each that they were matched to: at each scale one."""
    return [
        f"matched in {own[0].by} to {to}, {short(own[0].target)}: " + "; ".join(map(_match, own))
        for to in dict.fromkeys(how.to for how in matched)
        for own in [[how for how in matched if how.to == to]]
    ]


def _match(how: Matched) -> str:
    """`swiglu @ nano ffn.hidden=171 -0.02%`"""
    return " ".join(filter(None, (how.arm, how.key and f"{how.key}={how.value}", f"{how.mismatch:+.2%}")))


def warnings(plan: Plan) -> list[str]:
    """What the figures leave open, and what will stop the study before its end."""
    found = [f"{name}: no time is known ({reason})" for name, reason in plan.unknown.items()]
    if plan.disk > plan.free:
        found.append("the disk will be full before the end: free some, or move paths.multirun")
    if plan.most_flops is not None and plan.flops > plan.most_flops:
        found.append(f"study.flops={plan.most_flops:.3g} ends it sooner")
    if plan.most_hours is not None and plan.work is not None and plan.work > 3600 * plan.most_hours:
        found.append(f"study.hours={plan.most_hours:g} ends it sooner")
    crowd = sum(arm.tuning > 0 for arm in plan.arms) * plan.lag
    if 0 < crowd < 2 * plan.slots:
        found.append(f"study.lag={plan.lag} lets {crowd} trials run at once: raise it to keep {plan.slots} slots busy")
    return found


def span(seconds: float | None) -> str:
    """`42 s`, `12 min`, `3.4 h` or `2.1 days`; a dash for what is not known."""
    if seconds is None:
        return "–"
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{seconds / 86400:.1f} days"


def clock_time(moment: datetime.datetime) -> str:
    """`14:05` today, else `Tue 3 Jun 14:05`."""
    today = moment.date() == datetime.date.today()
    return f"{moment:%H:%M}" if today else f"{moment:%a} {moment.day} {moment:%b %H:%M}"


def short(count: float) -> str:
    """Three digits: `105K`, `1.52M`, `250B`."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.3g}{name}" if count < 999.5 * unit else f"{count / unit:.0f}{name}"
    return f"{count:.0f}"


def size(count: int) -> str:
    """`1.2 GiB` or `34.5 MiB`."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
