"""Five-field cron expressions as crontab(5) reads them, made into APScheduler's triggers.

APScheduler counts weekdays from Monday = 0, cron from Sunday = 0, and it takes `mon#1` or `jan-mar/2` without a word
for less than they say: here names become numbers, parts are read strictly, and weekdays are handed over by name.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from nanochat.core.errors import spec_error

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PART = re.compile(r"(\*|\d+(-\d+)?)(/[1-9]\d*)?|last")
REMEDY = "five fields: minute hour day month weekday, e.g. '0 22 * * 1-5' or '30 6 * * sat,sun'"


def trigger_of(cron: str, *, timezone: str | None) -> Any:
    """The `CronTrigger` of an expression, in a time zone (None: the machine's).

    Raises `SpecError` under an empty key for an expression that cannot be read, or that never comes.
    """
    try:
        from apscheduler.triggers.cron import CronTrigger
    except ImportError as error:
        raise spec_error("", cron, "needs APScheduler, which is not here", "pip install nanochat[schedule]") from error
    try:
        minute, hour, day, month, weekday = _fields(cron)
        trigger = CronTrigger(
            minute=minute, hour=hour, day=day, month=month, day_of_week=_weekdays(weekday), timezone=timezone
        )
    except (ValueError, KeyError) as error:
        raise spec_error("", cron, f"is no cron expression ({error})", REMEDY) from error
    if not (day.startswith("*") or weekday.startswith("*")):
        rule = "gives both a day of the month and a weekday: cron fires on either, other readers on days that are both"
        raise spec_error("", cron, rule, "make two schedules, with * in one of the two fields of each")
    if next_time(trigger, after=datetime.now().timestamp()) is None:
        raise spec_error("", cron, "never comes: there is no such date", REMEDY)
    return trigger


def check_zone(name: str) -> None:
    """Raises `SpecError` under an empty key where the machine knows no such time zone."""
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        rule = "is no time zone that this machine knows"
        raise spec_error("", name, rule, "a name like Europe/Berlin or UTC; null: the machine's own") from error


def next_time(trigger: Any, *, after: float) -> float | None:
    """The first time a trigger fires later than `after`, both in seconds since 1970."""
    found = trigger.get_next_fire_time(None, datetime.fromtimestamp(after + 1e-6, tz=trigger.timezone))
    return found.timestamp() if found else None


def _fields(cron: str) -> list[str]:
    """The fields with names as numbers. Raises `ValueError` for what is no field."""
    typed = cron.lower().split()
    if len(typed) != 5:
        raise ValueError(f"it has {len(typed)} fields, not 5")
    fields = [*typed[:3], _numbered(typed[3], MONTHS, first=1), _numbered(typed[4], WEEKDAYS, first=0)]
    for field, text in zip(fields, typed, strict=True):
        if not all(PART.fullmatch(part) for part in field.split(",")):
            raise ValueError(f"'{text}' cannot be read")
    return fields


def _numbered(field: str, names: tuple[str, ...], *, first: int) -> str:
    return re.sub(r"[a-z]+", lambda word: str(names.index(word[0]) + first) if word[0] in names else word[0], field)


def _weekdays(field: str) -> str:
    """A weekday field of numbers, 0 and 7 both Sunday, as a list of names."""
    days: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        first, _, last = body.partition("-")
        if body == "*":
            low, high = 0, 6
        else:
            low, high = int(first), int(last or (6 if step else first))
        high = 7 if high == 0 < low else high  # fri-sun
        if not low <= high <= 7:
            raise ValueError(f"weekdays are 0 to 7 from Sunday on, or names; '{part}' is not")
        days |= {day % 7 for day in range(low, high + 1, int(step or 1))}
    return ",".join(WEEKDAYS[day] for day in sorted(days))
