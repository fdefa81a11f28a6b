"""The journal file of a study: Optuna's format, one writer at a time, whole lines only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from nanochat.core.artifact import locked, writable


class Journal:
    """`journal.log` in a study's folder. Whoever writes to the opened storage does so inside `exclusive()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "journal.log"
        self.lock = _HeldLock(str(self.path))

    def open(self) -> JournalStorage:
        """The storage, as it is in the file. Inside `exclusive()`, or where the file is there already."""
        return JournalStorage(JournalFileBackend(str(self.path), lock_obj=self.lock))

    def shown(self) -> JournalStorage:
        """The storage for a program that writes when it pleases, under the study's lock as everybody."""
        return JournalStorage(JournalFileBackend(str(self.path), lock_obj=_StudyLock(self.folder)))

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone with the study, its journal ending in a whole line. Not reentrant."""
        with alone(self.folder), writable(self.path):
            mend(self.path)
            self.lock.held = True
            try:
                yield
            finally:
                self.lock.held = False


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The lock of the study in `folder`; it dies with its holder."""
    with locked(folder / "lock"):
        yield


class _StudyLock(JournalFileOpenLock):
    """The study's lock as a journal asks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held = contextlib.ExitStack()

    def acquire(self) -> bool:
        self.held.enter_context(alone(self.folder))
        return True

    def release(self) -> None:
        self.held.close()


class _HeldLock(JournalFileOpenLock):
    """In place of the journal's own lock, which outlives a killed holder for 30 s: the study's dies with it."""

    held = False

    def acquire(self) -> bool:
        assert self.held, "the journal is written under the study's lock"
        return True

    def release(self) -> None:
        pass


def mend(journal: Path) -> None:
    """Cut a last line that a crash tore to the last newline, keeping the cut bytes in `<journal>.torn`.

    Left there, it would run into the next line and make the whole journal unreadable.
    """
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.seek(whole)
        with journal.with_name(journal.name + ".torn").open("ab") as torn:
            torn.write(file.read() + b"\n")
        file.truncate(whole)
