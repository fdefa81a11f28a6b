"""What schedulers remember of each schedule between their lives: `<multirun>/schedule/state.json`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nanochat.core.artifact import locked, read_json, write_json
from nanochat.core.spec import Spec, dump, load


class Entry(Spec):
    """One schedule's memory. Times are seconds since 1970.

    rule: cron expression and time zone that were followed · since: fire times up to here are dealt with · begun, ends:
    of the last window (ends None: it has none) · ended, outcome: when and how it ended; None while it lasts, and after
    a scheduler that died in it.
    """

    rule: str
    since: float
    begun: float | None
    ends: float | None
    ended: float | None
    outcome: str | None


class State:
    """The file, shared by all schedulers and `task.once` of one multirun folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Entry]:
        """Every schedule's entry. Raises `MachineError` where the file is damaged."""
        if not self.path.exists():
            return {}
        stored = read_json(self.path)["schedules"]
        return {name: load(data, Entry, at=f"{self.path}: {name}") for name, data in stored.items()}

    def update(self, name: str, change: Callable[[Entry | None], Entry]) -> Entry:
        """Replace an entry by what `change` makes of it, nobody else writing meanwhile."""
        with locked(self.path.with_suffix(".lock")):
            entries = self.read()
            entries[name] = change(entries.get(name))
            write_json(self.path, {"schema": 1, "schedules": {key: dump(entry) for key, entry in entries.items()}})
        return entries[name]

    def see(self, name: str, *, rule: str, enabled: bool, now: float) -> Entry:
        """Take note of a schedule. What it could have missed counts from here if it is new, off, or has a new rule."""

        def seen(entry: Entry | None) -> Entry:
            if entry is None:
                return Entry(rule=rule, since=now, begun=None, ends=None, ended=None, outcome=None)
            if entry.rule != rule or not enabled or entry.since > now:  # the clock was ahead: or it would wait for it
                return entry.replace(rule=rule, since=now)
            return entry

        return self.update(name, seen)
