"""Which window is due, from what is remembered: on time, missed once, continued, or none."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from nanochat.core.errors import MachineError
from nanochat.schedule.cron import trigger_of
from nanochat.schedule.state import Entry, State
from nanochat.schedule.window import Window, due

HOUR = 3600.0
TRIGGER = trigger_of("0 22 * * *", timezone="UTC")
TEN = datetime(2026, 11, 25, 22, tzinfo=ZoneInfo("UTC")).timestamp()


def entry(**changes) -> Entry:
    fields = {"rule": "r", "since": TEN - HOUR, "begun": None, "ends": None, "ended": None, "outcome": None}
    return Entry(**{**fields, **changes})


@pytest.mark.parametrize(
    ("remembered", "now", "expected"),
    [
        ({}, TEN - 1, None),
        ({}, TEN, Window(TEN, TEN + 10 * HOUR, "on time")),
        ({}, TEN + 3 * HOUR, Window(TEN + 3 * HOUR, TEN + 13 * HOUR, "missed, caught up")),
        ({"since": TEN - 99 * HOUR}, TEN + 3 * HOUR, Window(TEN + 3 * HOUR, TEN + 13 * HOUR, "missed, caught up")),
        ({"since": TEN}, TEN + HOUR, None),
        ({"since": TEN, "begun": TEN, "ends": TEN + 10 * HOUR}, TEN + HOUR, "continued"),
        ({"since": TEN, "begun": TEN, "ends": TEN + 10 * HOUR, "outcome": "interrupted"}, TEN + HOUR, "continued"),
        ({"since": TEN, "begun": TEN, "ends": TEN + 10 * HOUR, "outcome": "complete"}, TEN + HOUR, None),
        ({"since": TEN, "begun": TEN, "ends": TEN + 10 * HOUR, "outcome": "refused"}, TEN + HOUR, None),
        ({"since": TEN, "begun": TEN, "ends": TEN + 10 * HOUR}, TEN + 11 * HOUR, None),
    ],
)
def test_what_is_due(remembered: dict, now: float, expected: Window | str | None) -> None:
    if expected == "continued":
        expected = Window(now, TEN + 10 * HOUR, "continued")
    assert due(entry(**remembered), trigger=TRIGGER, hours=10.0, now=now) == expected


def test_without_hours_a_window_has_no_end() -> None:
    window = due(entry(), trigger=TRIGGER, hours=None, now=TEN)
    assert window is not None and window.ends is None and not window.over(TEN + 1e6 * HOUR)


def test_what_is_missed_counts_from_when_a_rule_was_first_seen(tmp_path: Path) -> None:
    state = State(tmp_path / "state.json")
    see = {"rule": "a", "enabled": True}
    assert state.see("x", now=10.0, **see).since == 10.0
    assert state.see("x", now=20.0, **see).since == 10.0
    assert state.see("x", now=30.0, rule="b", enabled=True).since == 30.0, "another rule"
    assert state.see("x", now=40.0, rule="b", enabled=False).since == 40.0, "nothing is missed while it is off"
    assert state.see("x", now=15.0, rule="b", enabled=True).since == 15.0, "a clock that was ahead"
    state.see("y", now=50.0, **see)
    assert {name: found.since for name, found in State(state.path).read().items()} == {"x": 15.0, "y": 50.0}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(MachineError, match=r"state\.json: is damaged"):
        State(tmp_path / "state.json").read()
