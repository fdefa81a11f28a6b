"""A person at a terminal as a run's owner: a progress bar, and Ctrl-C as a polite request."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any, Self

from rich.console import Console

from nanochat.core.progress import PATIENCE_SECONDS, bar, quiet

PHASES = {
    "wait": "waiting for the other process that trains this run",
    "data": "preparing the texts",
    "train": "training",
    "valid": "validating",
    "test": "scoring the test documents",
}


class Terminal:
    """Shows percent, time left, loss and the last validation; a line per tenth where there is no terminal.

    The first Ctrl-C (or SIGTERM) asks the run to checkpoint and stop; the second ends it at once.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.stopping = False
        self.bar = bar(self.console) if self.console.is_terminal and not quiet() else None
        self.task = self.bar.add_task("training", total=None, note="") if self.bar else None
        self.bpb: float | None = None
        self.phase, self.shown = "", 0
        self.began = time.monotonic()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self.stop)
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def stop(self, number: int, _: FrameType | None) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        self.console.print("stopping after a checkpoint; once more ends at once")

    def stop_requested(self) -> bool:
        return self.stopping

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        self.bpb = bpb if bpb is not None else self.bpb
        note = " ".join(
            text
            for text in (
                f"loss {loss:.3f}" if loss is not None else "",
                f"valid {self.bpb:.3f} bpb" if self.bpb is not None else "",
            )
            if text
        )
        if self.bar and self.task is not None:
            self.bar.update(self.task, description=PHASES[phase], completed=tokens, total=total, note=note)
        elif not quiet():
            self.line(phase, share=tokens / total, note=note)

    def report(self, *, tokens: int, bpb: float) -> None:
        self.bpb = bpb

    def line(self, phase: str, *, share: float, note: str) -> None:
        """One plain line for a new phase and for every tenth of the training, for logs."""
        new = phase != self.phase and phase in ("wait", "data", "test")
        tenth = phase == "train" and int(10 * share) > self.shown
        if (new or tenth) and time.monotonic() - self.began > PATIENCE_SECONDS:
            self.console.print(f"{PHASES[phase]} {share:.0%} {note}".rstrip(), highlight=False)
        self.phase, self.shown = phase, max(self.shown, int(10 * share))
