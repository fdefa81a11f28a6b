"""A study in a process of its own, kept within a window."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nanochat.core.artifact import writable
from nanochat.core.compose import CONF
from nanochat.core.errors import MachineError
from nanochat.schedule import guard

LOOK_SECONDS = 0.2
PROGRAM = (sys.executable, str(CONF.parent / "run.py"))

# Exit codes of a study that was asked to pause: by its own word, by SIGTERM before it could listen, by SIGKILL.
PAUSED, TERMINATED, KILLED = 130, 143, 137
REFUSED = 2


def study_command(words: Sequence[str], *, paths: dict[str, str], program: Sequence[str] = PROGRAM) -> list[str]:
    """The command of a study: the scheduler's paths first, so that a schedule's own come last and win."""
    quoted = ["paths.{}='{}'".format(name, path.replace("'", r"\'")) for name, path in paths.items()]
    return [*program, *quoted, *words, "-m"]


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int | None]:
    """A file descriptor that holds an exclusive lock on `path`, or None where somebody else holds it.

    Whoever inherits the descriptor holds the lock too: it lasts as long as the study, not only as its scheduler.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        yield None
        return
    try:
        yield lock
    finally:
        os.close(lock)


def run_study(
    command: Sequence[str],
    *,
    log: Path,
    grace: float,
    lock: int,
    over: Callable[[], bool],
    rest: Callable[[float], object],
) -> int:
    """Run a study until it ends, or pause it once `over()`; returns its exit code, 128 + n after signal n.

    `rest` sleeps a number of seconds, or less. Raises `MachineError` where the log cannot be written or nothing can
    be started.
    """
    with writable(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"$ {shlex.join(command)}\n", encoding="utf-8")
        output = log.open("ab")
    leash = [sys.executable, "-I", guard.__file__, str(grace), str(lock), *command]
    try:
        with output:
            held = subprocess.Popen(
                leash, stdin=subprocess.PIPE, stdout=output, stderr=output, pass_fds=[lock], start_new_session=True
            )
    except OSError as error:
        raise MachineError(f"{command[0]}: cannot be started ({error.strerror})") from error
    assert held.stdin is not None
    try:
        while held.poll() is None and not over():
            rest(LOOK_SECONDS)
    finally:
        held.stdin.close()
        code = held.wait()
    return code if code >= 0 else 128 - code


def last_line(log: Path) -> str:
    """What a study said last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if len(lines) > 1 else "it said nothing"
