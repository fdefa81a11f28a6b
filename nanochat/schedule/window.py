"""Which window of a schedule is due now, from what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nanochat.schedule.cron import next_time
from nanochat.schedule.state import Entry

INTERRUPTED = "interrupted"
"""The outcome of a window whose scheduler was stopped: what is left of it is still due."""

PUNCTUAL_SECONDS = 60.0


@dataclass(frozen=True)
class Window:
    """A span of time for a study, in seconds since 1970; `ends` None: no end. `why`: a word for the reader."""

    begins: float
    ends: float | None
    why: str

    def over(self, now: float) -> bool:
        return self.ends is not None and now >= self.ends


def due(entry: Entry, *, trigger: Any, hours: float | None, now: float) -> Window | None:
    """The window to begin now, if any.

    One or many fire times since the last one dealt with make one window of full length, however late it is. Otherwise
    a window that was cut off goes on until its own end.
    """
    fired = next_time(trigger, after=entry.since)
    if fired is not None and fired <= now:
        return full(now, hours=hours, why="on time" if now - fired < PUNCTUAL_SECONDS else "missed, caught up")
    if cut_off(entry):
        rest = Window(now, entry.ends, "continued")
        return None if rest.over(now) else rest
    return None


def full(now: float, *, hours: float | None, why: str) -> Window:
    """A window of full length from now on."""
    return Window(now, None if hours is None else now + 3600 * hours, why)


def cut_off(entry: Entry) -> bool:
    """Whether the last window was ended by its scheduler's end."""
    return entry.begun is not None and entry.outcome in (None, INTERRUPTED)
