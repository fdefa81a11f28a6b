"""The schedules at a glance, at 80 columns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from rich.table import Table

from nanochat.schedule.cron import next_time
from nanochat.schedule.service import Plan
from nanochat.schedule.state import Entry

COLUMNS = {"schedule": 12, "cron": 12, "next run": 16, "experiment": 13, "hours": 5, "last run": 16}


def schedules_table(plans: Mapping[str, Plan], entries: Mapping[str, Entry], *, now: float | None = None) -> Table:
    """A line for each schedule; times are local."""
    now = time.time() if now is None else now
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, width in COLUMNS.items():
        table.add_column(name, width=width, overflow="fold")
    for plan in plans.values():
        spec, following = plan.spec, next_time(plan.trigger, after=now)
        table.add_row(
            plan.name,
            spec.cron,
            brief(following) if spec.enabled and following else "off",
            spec.experiment or "–",
            "–" if spec.hours is None else f"{spec.hours:.4g}",
            last_run(entries.get(plan.name)),
        )
    return table


def last_run(entry: Entry | None) -> str:
    """`paused` and when, on two lines; `began` and when of one that still runs, or whose scheduler died."""
    if entry is None or entry.begun is None:
        return "never"
    if entry.outcome is None or entry.ended is None:
        return f"began\n{brief(entry.begun)}"
    return f"{entry.outcome}\n{brief(entry.ended)}"


def brief(seconds: float) -> str:
    """Local time to the minute,."""
    return f"{datetime.fromtimestamp(seconds):%a %d %b %H:%M}"
