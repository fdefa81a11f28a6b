"""Stands for `run.py` where the scheduler is tested: `stand_in.py MODE FOLDER` notes what happens in FOLDER/notes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])
PATIENCE_SECONDS = 60.0


def note(*words: object) -> None:
    with (FOLDER / "notes").open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def pause(*_: object) -> None:
    note("paused")
    sys.exit(130)


if MODE == "patient":  # works until it is asked to pause; the second time there is nothing left
    signal.signal(signal.SIGTERM, pause)
elif MODE == "stubborn":  # and so is what it starts
    signal.signal(signal.SIGTERM, lambda *_: note("ignored"))
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep({PATIENCE_SECONDS})",
        ]
    )
    note("child", child.pid)
began_before = (FOLDER / "notes").exists() and "paused" in (FOLDER / "notes").read_text()
note("begun", os.getpid())
if MODE == "refusing":
    print("code=refuse: run 1 was made by other code")
    sys.exit(2)
if MODE in ("patient", "stubborn") and not began_before:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(0.05)
    sys.exit(1)
time.sleep(0.3)
note("complete")
