"""Keeps a study on a leash: `python -I guard.py GRACE LOCK COMMAND…`, standard library alone.

The leash is a pipe at standard input. When its other end closes, because the window is over or because the scheduler
is gone, however it went, the study is asked to pause (SIGTERM), and killed with all that it started if it is still
there after GRACE seconds. LOCK is an inherited file descriptor that guard and study keep open: the kernel drops that
lock with the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

LOOK_SECONDS = 0.2
PR_SET_PDEATHSIG = 1


def main(grace: float, lock: int, command: Sequence[str]) -> int:
    """The study's exit code, 128 + n where signal n ended it."""
    leash, end = sys.stdin.fileno(), os.pipe()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(end[1], b"."))
    study = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[lock], preexec_fn=_end_with_parent
    )
    while study.poll() is None:
        if select.select([leash, end[0]], [], [], LOOK_SECONDS)[0]:
            _pause(study, grace)
    return study.returncode if study.returncode >= 0 else 128 - study.returncode


def _pause(study: subprocess.Popen[bytes], grace: float) -> None:
    study.terminate()
    try:
        study.wait(grace)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(study.pid, signal.SIGKILL)
        study.wait()


def _end_with_parent() -> None:
    """On Linux a study gets SIGTERM even where the guard itself is killed; elsewhere it would run to its end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
