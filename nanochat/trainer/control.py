"""What a run says to whoever started it, and when it is told to stop."""

from __future__ import annotations

from typing import Protocol


class Control(Protocol):
    """The line between a run and its owner: a terminal, or a study's worker at the other end of a pipe."""

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        """Say how far the run is: `phase` is data, train, valid or test; `bpb` comes with each validation."""

    def stop_requested(self) -> bool:
        """Whether the run is to checkpoint and end now."""
        ...


class Silent:
    """Nobody listens and nobody stops the run."""

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        pass

    def stop_requested(self) -> bool:
        return False
