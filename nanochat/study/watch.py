"""A study as a person watches it: slots, best so far, failures, time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from nanochat.core.progress import quiet
from nanochat.study.trial import Trial, best_of

REFRESH_SECONDS = 0.25


@dataclass
class Running:
    """A run in a slot, as far as it has told."""

    trial: Trial
    began: float
    phase: str = "start"
    share: float = 0.0
    first_share: float | None = None
    bpb: float | None = None

    def seconds_left(self, now: float) -> float | None:
        """From the pace since the first report: a resumed run did not begin at zero."""
        gained = self.share - (self.first_share or 0.0)
        return (now - self.began) * (1 - self.share) / gained if gained > 0 else None


@dataclass
class Watch:
    """Shows what the worker tells it. `slots`: their labels · `trials`, `total`: the study's, as last read."""

    name: str
    slots: Sequence[str]
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    running: dict[int, Running] = field(default_factory=dict)
    trials: Sequence[Trial] = ()
    total: int = 0
    seconds: float = 0.0
    ran: int = 0
    drawn: float = 0.0
    live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal and not quiet():
            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def sync(self, trials: Sequence[Trial], total: int) -> None:
        """Take note of the study's trials: this worker's and the others'."""
        self.trials, self.total = trials, total

    def started(self, slot: int, trial: Trial) -> None:
        self.running[slot] = Running(trial, time.monotonic())

    def progress(self, slot: int, message: dict[str, Any]) -> None:
        run = self.running[slot]
        run.phase = message["phase"]
        run.share = message["tokens"] / message["total"]
        run.first_share = run.share if run.first_share is None else run.first_share
        run.bpb = message["bpb"] if message["bpb"] is not None else run.bpb

    def ended(self, slot: int) -> None:
        run = self.running.pop(slot)
        self.seconds += time.monotonic() - run.began
        self.ran += 1

    def finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """One line for a finished trial where nothing else is shown; a failure is always told, and at once."""
        where = f"{self.name} {self.done()}/{self.total} {trial.label}"
        params = " ".join(f"{key}={brief(value)}" for key, value in trial.params.items())
        if result["status"] not in ("complete", "pruned"):
            self.say(f"{where} {result['status']}: {result['reason']} {params}".rstrip())
        elif self.live is not None:
            return
        elif result["status"] == "pruned":
            self.say(f"{where} pruned: {result['reason']} {params}".rstrip())
        else:
            split = "valid" if trial.phase == "tune" else "test"
            self.say(f"{where}: {split} {result[f'{split}_bpb']:.4f} bpb {params}".rstrip())

    def say(self, text: str) -> None:
        """A line that stays."""
        if not quiet():
            self.console.print(text, markup=False, soft_wrap=True)

    def refresh(self) -> None:
        """Draw, not too often."""
        now = time.monotonic()
        if self.live and now - self.drawn > REFRESH_SECONDS:
            self.drawn = now
            self.live.update(self.view(now), refresh=True)

    def done(self) -> int:
        return sum(trial.finished for trial in self.trials)

    def view(self, now: float) -> Group:
        """The live picture, at most 80 columns wide."""
        done, ends = self.done(), Counter(trial.status for trial in self.trials if trial.finished)
        left = self._seconds_left()
        words = [
            f"{self.name}: {done} of {self.total} trials",
            *(f"{count} {status}" for status, count in sorted(ends.items()) if status != "complete"),
            f"about {clock(left)} left" if left is not None else "",
        ]
        return Group(self._slots(now), self._best(), " · ".join(filter(None, words)))

    def _slots(self, now: float) -> Table:
        table = Table(box=None, pad_edge=False, width=80)
        for name, width in (("slot", 11), ("run", 28), ("", 5), ("done", 5), ("left", 8), ("valid bpb", 9)):
            table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
        for slot, label in enumerate(self.slots):
            run = self.running.get(slot)
            if run is None:
                table.add_row(label, "–")
                continue
            left = run.seconds_left(now)
            bpb = "" if run.bpb is None else f"{run.bpb:.4f}"
            time_left = "" if left is None else clock(left)
            table.add_row(label, run.trial.label, run.phase, f"{run.share:.0%}", time_left, bpb)
        return table

    def _best(self) -> Table:
        """The best tuning so far of each arm that has one."""
        table = Table(box=None, pad_edge=False, width=80)
        for name, width in (("best so far", 34), ("valid bpb", 9), ("at", 30)):
            table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
        for arm in dict.fromkeys(trial.arm for trial in self.trials):
            best = best_of([trial for trial in self.trials if trial.arm == arm and trial.phase == "tune"])
            if best is not None:
                params = " ".join(f"{key}={brief(value)}" for key, value in best.params.items())
                table.add_row(arm, f"{best.score:.4f}", params)
        return table

    def _seconds_left(self) -> float | None:
        """Time left for the whole study at the pace of the runs so far."""
        if not self.ran:
            return None
        open_runs = self.total - self.done() - sum(run.share for run in self.running.values())
        return max(0.0, open_runs) * self.seconds / self.ran / len(self.slots)


def brief(value: Any) -> str:
    """A tuned value for the eye."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
