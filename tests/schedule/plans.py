"""Schedules for tests, whose studies are a stand-in."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apscheduler.triggers.cron import CronTrigger

from nanochat.schedule.service import Plan, Service
from nanochat.schedule.spec import ScheduleSpec

STAND_IN = Path(__file__).with_name("stand_in.py")
SECOND = 1 / 3600
PATIENCE_SECONDS = 60.0


def spec_of(**changes: Any) -> ScheduleSpec:
    fields = {
        "cron": "0 22 * * *",
        "timezone": "UTC",
        "experiment": None,
        "overrides": (),
        "hours": None,
        "idle_gpus": False,
        "grace": 30.0,
        "enabled": True,
    }
    return ScheduleSpec(**{**fields, **changes})


def plan_of(folder: Path, mode: str, *, trigger: Any = None, **changes: Any) -> Plan:
    """Fires every second, unless a trigger is given."""
    trigger = trigger or CronTrigger(second="*", timezone="UTC")
    return Plan("test", spec_of(**changes), trigger, [sys.executable, str(STAND_IN), mode, str(folder)])


def service_of(folder: Path, plan: Plan, **more: Any) -> Service:
    return Service({plan.name: plan}, folder=folder / "schedule", **more)


def notes(folder: Path, word: str) -> list[str]:
    """What a stand-in noted after `word`, once for each time."""
    path = folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == word]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
