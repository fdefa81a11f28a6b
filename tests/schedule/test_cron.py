"""Cron expressions mean what crontab(5) says, and what cannot be read is refused with what would be."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nanochat.core.errors import SpecError
from nanochat.core.spec import load
from nanochat.schedule.cron import next_time, trigger_of
from nanochat.schedule.spec import ScheduleSpec
from tests.schedule.plans import spec_of

MONDAY = datetime(2026, 11, 23, tzinfo=ZoneInfo("UTC"))


def days(weekday: str) -> list[str]:
    """The weekdays of one week on which a field fires."""
    trigger = trigger_of(f"0 12 * * {weekday}", timezone="UTC")
    found = []
    for day in range(7):
        begins = MONDAY + timedelta(days=day)
        fired = next_time(trigger, after=begins.timestamp())
        if fired is not None and fired < (begins + timedelta(days=1)).timestamp():
            found.append(f"{begins:%a}".lower())
    return found


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("1-5", "mon tue wed thu fri"),
        ("mon-fri", "mon tue wed thu fri"),
        ("0", "sun"),
        ("7", "sun"),
        ("6,0", "sat sun"),
        ("5-7", "fri sat sun"),
        ("FRI-SUN", "fri sat sun"),
        ("sun-tue", "mon tue sun"),
        ("*/2", "tue thu sat sun"),
        ("1-5/2", "mon wed fri"),
        ("*", "mon tue wed thu fri sat sun"),
    ],
)
def test_weekdays_count_from_sunday(field: str, expected: str) -> None:
    assert days(field) == expected.split()


def test_names_of_months_are_numbers() -> None:
    trigger = trigger_of("0 0 1 jan-mar/2 *", timezone="UTC")
    first = next_time(trigger, after=MONDAY.timestamp())
    assert first is not None
    second = next_time(trigger, after=first)
    assert second is not None
    assert [datetime.fromtimestamp(time, tz=ZoneInfo("UTC")).month for time in (first, second)] == [1, 3]


def test_a_time_zone_moves_with_its_summer() -> None:
    trigger = trigger_of("0 22 * * *", timezone="Europe/Berlin")
    hours = []
    for month in (1, 7):
        fired = next_time(trigger, after=datetime(2026, month, 1, tzinfo=ZoneInfo("UTC")).timestamp())
        assert fired is not None
        hours.append(datetime.fromtimestamp(fired, tz=ZoneInfo("UTC")).hour)
    assert hours == [21, 20]


@pytest.mark.parametrize(
    ("cron", "rule"),
    [
        ("0 22 * *", "it has 4 fields, not 5"),
        ("@daily", "it has 1 fields, not 5"),
        ("61 * * * *", "higher than the maximum value"),
        ("0 0 * * mon#1", "'mon#1' cannot be read"),
        ("0 0 * * 8", "weekdays are 0 to 7"),
        ("0 0 * * 5-2", "weekdays are 0 to 7"),
        ("1, * * * *", "cannot be read"),
        ("*/0 * * * *", "cannot be read"),
        ("0 0 * * last", "is no cron expression"),
        ("0 0 13 * 5", "both a day of the month and a weekday"),
        ("0 0 30 2 *", "never comes"),
    ],
)
def test_what_is_no_cron_expression_is_refused(cron: str, rule: str) -> None:
    data = {**spec_of().model_dump(), "cron": cron}
    with pytest.raises(SpecError) as error:
        load(data, ScheduleSpec, at="schedule.x")
    (problem,) = error.value.problems
    assert (problem.key, problem.value) == ("schedule.x.cron", cron)
    assert rule in problem.rule and problem.remedy


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apscheduler.triggers.cron", None)
    with pytest.raises(SpecError, match=r"needs APScheduler.*; pip install nanochat\[schedule\]"):
        trigger_of("0 22 * * *", timezone="UTC")
