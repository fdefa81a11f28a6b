"""What a run says to whoever started it, and when it is told to stop."""

from __future__ import annotations

from typing import Protocol


class Control(Protocol):
    """The line between a run and its owner: a terminal, or a study's worker at the other end of a pipe."""

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        """Say how far the run is: `phase` is data, train, valid or test; `bpb` comes with each validation."""

    def report(self, *, tokens: int, bpb: float) -> None:
        """One validation of the run, after `tokens` of training. All of them come, in order, each once: a run that goes
        on from a checkpoint, or is finished already, first repeats those of before, to the last bit."""

    def stop_requested(self) -> bool:
        """Whether the run is to checkpoint and end now."""
        ...


class Interrupted(Exception):
    """A request to stop cut short what can be done again: a validation, or the scoring at a run's end."""


def heed(control: Control) -> None:
    """Between two pieces of such work: raise `Interrupted` when the run is to end."""
    if control.stop_requested():
        raise Interrupted


class Silent:
    """Nobody listens and nobody stops the run."""

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        pass

    def report(self, *, tokens: int, bpb: float) -> None:
        pass

    def stop_requested(self) -> bool:
        return False
