"""What a machine has but once, a share of a GPU or a core, is held by one worker at a time, whatever their studies.

A claim is a lock file named for what is held and by whom. The kernel drops the lock when its holder dies, however it
dies. One more lock, held only for a moment, guards looking around and taking. Workers meet in the temporary folder of
their user: those of other users, and of containers with a /tmp of their own, are not seen.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nanochat.core.artifact import locked


@dataclass(frozen=True)
class Claim:
    """Part number `part`, from 1, of `of` equal parts of `what` (a GPU's UUID, or `core-3`)."""

    what: str
    part: int
    of: int

    def overlaps(self, other: Claim) -> bool:
        """Whether the two have anything in common: half of a GPU overlaps two of its quarters."""
        return (
            self.what == other.what
            and (self.part - 1) * other.of < other.part * self.of
            and (other.part - 1) * self.of < self.part * other.of
        )


class Claims:
    """What this worker holds, until the end of the `with` block or of the process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()

    def take(self, claims: Sequence[Claim]) -> list[int]:
        """Hold all of `claims`, or none of them: returns the processes that are in the way, empty when held."""
        with locked(self.folder / "guard"):
            holders = [pid for claim in claims for pid in self._holders(claim)]
            if not holders:
                for claim in claims:
                    self.held.enter_context(locked(self._path(claim, pid=os.getpid())))
            return holders

    def _holders(self, claim: Claim) -> list[int]:
        """The processes that hold something of `claim`. What the dead have left is removed on the way."""
        found = []
        for path in self.folder.glob("*.held"):
            what, part, of, pid, _ = path.name.rsplit(".", 4)
            if not claim.overlaps(Claim(what, int(part), int(of))):
                continue
            with locked(path, wait=False) as dead:
                pass
            if dead:
                path.unlink(missing_ok=True)  # nobody can be about to lock it: that takes the guard
            else:
                found.append(int(pid))
        return found

    def _path(self, claim: Claim, *, pid: int) -> Path:
        return self.folder / f"{claim.what}.{claim.part}.{claim.of}.{pid}.held"


def claims_folder() -> Path:
    """Where all workers of this user on this machine meet."""
    return Path(tempfile.gettempdir()) / f"nanochat-{os.getuid()}"
