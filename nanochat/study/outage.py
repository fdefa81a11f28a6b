"""A storage that does not answer for a while: runs go on, and what is to be written waits its turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from nanochat.core.errors import MachineError


class Unreachable(MachineError):
    """The storage does not answer. It may again: nothing of the study is lost by waiting."""


class Outage:
    """Writes in order, at once or when the storage is there again; says when it goes and when it is back."""

    def __init__(self, patience: float, *, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        """patience: seconds without an answer after which it is `over`."""
        self.patience = patience
        self.say = say
        self.clock = clock
        self.waiting: deque[Callable[[], None]] = deque()
        self.since: float | None = None

    def soon(self, write: Callable[[], None]) -> None:
        """Write now, or after all that waits."""
        self.waiting.append(write)
        try:
            self.catch_up()
        except Unreachable as error:
            self.over(error)

    def catch_up(self) -> None:
        """Write what waits. Raises `Unreachable` where the storage still does not answer."""
        while self.waiting:
            self.waiting[0]()
            self.waiting.popleft()
            self.answered()

    def answered(self) -> None:
        """Note that it answers."""
        if self.since is not None:
            self.since = None
            self.say("the storage answers again")

    def over(self, error: Unreachable) -> bool:
        """Note that it did not answer; whether that has lasted too long."""
        now = self.clock()
        if self.since is None:
            self.since = now
            self.say(f"{error}; runs go on, waiting for up to {self.patience:.0f} s")
        return now - self.since > self.patience
