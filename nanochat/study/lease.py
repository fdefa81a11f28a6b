"""Signs of life of the workers of a study, which may run on several machines.

On one machine a worker's lock file tells: the kernel drops it when its holder dies. From another machine only a
counter can be seen; a worker whose counter stood still for the lease, by the observer's own clock, is dead.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from nanochat.core.artifact import locked

# Beats in one lease: one that comes late, or is seen late, does no harm.
BEATS = 6


class Leases:
    """This worker's own sign of life in `folder`, and its view of the others'."""

    def __init__(self, folder: Path, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.seconds = seconds
        self.clock = clock
        self.owner = f"{machine()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        self.seen: dict[str, tuple[str, float]] = {}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be alive, in the eyes of all workers, until the end of the block or of the process."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        with locked(self._lock(self.owner)):
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()
                self._forget(self.owner)

    def alive(self, owner: str) -> bool:
        """Whether `owner` still works. An empty name is nobody: a trial that was handed back."""
        if owner == self.owner:
            return True
        if not owner or not self._lock(owner).exists():
            return False
        if owner.startswith(machine() + "."):
            with locked(self._lock(owner), wait=False) as dead:
                pass
            if dead:
                self._forget(owner)
            return not dead
        return self._counting(owner)

    def others(self) -> list[str]:
        """All other workers that are alive, by name."""
        found = sorted(path.stem for path in self.folder.glob("*.lock"))
        return [owner for owner in found if owner != self.owner and self.alive(owner)]

    def _counting(self, owner: str) -> bool:
        """Whether the counter moved within the lease. The first sight of a counter begins a lease."""
        try:
            count = self._counter(owner).read_text()
        except OSError:
            count = ""
        known = self.seen.get(owner)
        if known is None or known[0] != count:
            self.seen[owner] = (count, self.clock())
            return True
        return self.clock() - known[1] < self.seconds

    def _beat(self, ended: threading.Event) -> None:
        count = 0
        while True:
            # A full disk must not end the beat: on this machine the lock speaks for us anyway.
            with contextlib.suppress(OSError):
                self._counter(self.owner).write_text(str(count))
            count += 1
            if ended.wait(self.seconds / BEATS):
                return

    def _forget(self, owner: str) -> None:
        """Remove the files of a worker that is gone: nobody ever takes its name again."""
        self._counter(owner).unlink(missing_ok=True)
        self._lock(owner).unlink(missing_ok=True)

    def _lock(self, owner: str) -> Path:
        return self.folder / f"{owner}.lock"

    def _counter(self, owner: str) -> Path:
        return self.folder / f"{owner}.beat"


def machine() -> str:
    """This machine since its last boot: a name that no other kernel shares, as locks are the kernel's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        boot = "0"
    return f"{socket.gethostname().replace('/', '-')}.{boot}"
