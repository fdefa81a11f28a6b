"""What a study adds to its trials: one-step trials on two slots, beside the same run in a fresh process.

Wall time of a study of 100 trials less that of one of 20, over 80: compose, ask, start, one step, report, tell.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.runs import SMALL

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 20, 100

# A trial of one step: everything but the training itself.
TRIAL = [*SMALL, "stop.steps=1", "eval.test_bytes=500", "eval.evaluations=1"]


def measure() -> dict[str, Any]:
    """Seconds per trial after warm-up, peak memory of the worker at both lengths, and the fresh process's time."""
    with tempfile.TemporaryDirectory() as folder:
        small_s, small_mib = _study(Path(folder) / "a", trials=FEW)
        large_s, large_mib = _study(Path(folder) / "b", trials=MANY)
        start = time.perf_counter()
        _run(Path(folder) / "c")
        fresh = time.perf_counter() - start
    per_trial = (large_s - small_s) / (MANY - FEW)
    return {
        "seconds_per_trial_two_slots": round(per_trial, 3),
        "warm_up_s": round(small_s - FEW * per_trial, 2),
        "fresh_process_s": round(fresh, 2),
        "fresh_process_of_trial": round(fresh / per_trial, 1),
        f"worker_mib_at_{FEW}_trials": round(small_mib, 1),
        f"worker_mib_at_{MANY}_trials": round(large_mib, 1),
        "worker_memory_growth": round(large_mib / small_mib, 3),
    }


def _study(folder: Path, *, trials: int) -> tuple[float, float]:
    """Seconds of a study, and the highest resident memory of its worker in MiB."""
    extra = [f"study.trials={trials}", "study.slots=2", "-m"]
    start = time.perf_counter()
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(_command(folder, *extra), cwd=ROOT, stdout=log, stderr=log)
        peak = 0
        worker = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, worker.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.wait() != 0:
        raise RuntimeError((folder.parent / f"{folder.name}.log").read_text())
    return seconds, peak / 2**20


def _run(folder: Path) -> None:
    subprocess.run(_command(folder), cwd=ROOT, check=True, capture_output=True)


def _command(folder: Path, *extra: str) -> list[str]:
    paths = [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    return [sys.executable, "run.py", *TRIAL, *paths, *extra]
