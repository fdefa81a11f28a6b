"""The live view of a study: slots with percent and time left, the best so far, failures as they happen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nanochat.core.progress import quiet
from nanochat.study.pool import Message
from nanochat.study.store import Result, Store, Trial

# A run of another length than its neighbours is rare: the mean time of a trial tells the time left well enough.
REFRESH_PER_SECOND = 4


@dataclass
class Slot:
    """What runs in a slot, since when, and how far it is."""

    trial: Trial
    began: float
    share: float = 0.0
    phase: str = "starting"
    loss: float | None = None


class Watch:
    """Shows a study on the terminal; a plain line for every finished trial where there is none."""

    def __init__(self, *, slots: int, total: int, done: int) -> None:
        self.console = Console(highlight=False)
        self.slots: list[Slot | None] = [None] * slots
        self.total, self.done = total, done
        self.began, self.done_before = time.monotonic(), done
        self.best: tuple[str, str, float] | None = None
        live = self.console.is_terminal and not quiet()
        self.live = Live(get_renderable=self.render, console=self.console, transient=True) if live else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.refresh_per_second = REFRESH_PER_SECOND
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, soft_wrap=True)

    def started(self, slot: int, trial: Trial) -> None:
        self.slots[slot] = Slot(trial, time.monotonic())

    def ended(self, slot: int) -> None:
        self.slots[slot] = None

    def progress(self, slot: int, message: Message) -> None:
        """News from the run in a slot."""
        here = self.slots[slot]
        if here is not None:
            here.share = message["tokens"] / message["total"]
            here.phase = message["phase"]
            here.loss = message["loss"] if message["loss"] is not None else here.loss

    def finished(self, trial: Trial, result: Result, *, store: Store) -> None:
        """One more trial is finished: failures are shown at once."""
        self.done += 1
        kind, name = ("valid", "valid_bpb") if trial.phase == "tune" else ("test", "test_bpb")
        value = result[name]
        if result["status"] != "complete":
            self.say(f"{self.count()} {label(trial)}  {result['status']}: {result['reason']}")
            return
        assert value is not None
        if self.best is None or (kind, -value) > (self.best[1], -self.best[2]) or kind != self.best[1] == "valid":
            self.best = (label(trial), kind, value)
        if not self.live:
            self.say(f"{self.count()} {label(trial)}  {value:.4f} {kind} bpb  {self.left()}".rstrip())

    def count(self) -> str:
        return f"[{self.done:>{len(str(self.total))}}/{self.total}]".replace("[", r"\[")

    def left(self) -> str:
        """The time left at the pace so far."""
        finished = self.done - self.done_before
        if not finished or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self.began) / finished * (self.total - self.done)
        return f"{clock(seconds)} left"

    def render(self) -> Group:
        """The view at this moment, at most 80 columns wide."""
        table = Table(box=None, show_header=False, pad_edge=False, width=min(80, self.console.width))
        for _ in range(2):
            table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(width=18)
        table.add_column(width=5, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis", width=22)
        for number, slot in enumerate(self.slots):
            if slot is None:
                table.add_row(f"slot {number}", Text("idle", style="dim"), "", "", "")
                continue
            loss = f"loss {slot.loss:.3f}" if slot.loss is not None else ""
            bar = ProgressBar(total=1.0, completed=slot.share, width=18)
            note = f"{slot.phase} {self.slot_left(slot)} {loss}"
            table.add_row(f"slot {number}", label(slot.trial), bar, f"{slot.share:.0%}", note)
        status = f"{self.done}/{self.total} trials ({self.done / max(1, self.total):.0%})  {self.left()}"
        best = f"best so far: {self.best[0]}  {self.best[2]:.4f} {self.best[1]} bpb" if self.best else ""
        return Group(table, Text(status, style="bold"), Text(best))

    def slot_left(self, slot: Slot) -> str:
        if not 0.02 < slot.share < 1:
            return ""
        return clock((time.monotonic() - slot.began) * (1 - slot.share) / slot.share)


def label(trial: Trial) -> str:
    """How a trial is called on one line."""
    return f"{trial.arm} · " + (f"trial {trial.number}" if trial.phase == "tune" else f"seed {trial.seed}")


def clock(seconds: float) -> str:
    """`1:02:03`, `2:03` or `0:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
