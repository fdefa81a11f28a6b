"""What a study adds to its trials: one-step trials on two slots, beside the same run in a fresh process.

Wall time of a study of 100 trials less that of one of 20, over 80: compose, ask, start, one step, report, tell.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.runs import SMALL

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 20, 100

# A trial of one step: everything but the training itself.
TRIAL = [*SMALL, "stop.steps=1", "eval.test_bytes=500", "eval.evaluations=1"]


@dataclass
class Cost:
    """What a study took: wall seconds · processor seconds of the worker, and of the runs' processes and their server ·
    the worker's highest resident memory in MiB."""

    wall: float = 0.0
    worker: float = 0.0
    runs: float = 0.0
    mib: float = 0.0


def measure() -> dict[str, Any]:
    """Per trial after warm-up: wall seconds, and processor seconds, which a busy machine stretches less; the worker's
    peak memory at both lengths; a fresh process's time."""
    with tempfile.TemporaryDirectory() as folder:
        small = _study(Path(folder) / "a", trials=FEW)
        large = _study(Path(folder) / "b", trials=MANY)
        start = time.perf_counter()
        _run(Path(folder) / "c")
        fresh = time.perf_counter() - start
    wall, worker, runs = (
        (getattr(large, name) - getattr(small, name)) / (MANY - FEW) for name in ("wall", "worker", "runs")
    )
    return {
        "seconds_per_trial_two_slots": round(wall, 3),
        "processor_seconds_per_trial": round(worker + runs, 3),
        "worker_processor_seconds_per_trial": round(worker, 3),
        "warm_up_s": round(small.wall - FEW * wall, 2),
        "fresh_process_s": round(fresh, 2),
        "fresh_process_of_trial": round(fresh / wall, 1),
        f"worker_mib_at_{FEW}_trials": round(small.mib, 1),
        f"worker_mib_at_{MANY}_trials": round(large.mib, 1),
        "worker_memory_growth": round(large.mib / small.mib, 3),
    }


def _study(folder: Path, *, trials: int) -> Cost:
    """What a study of so many trials takes, in a process of its own."""
    extra = [f"study.trials={trials}", "study.slots=2", "-m"]
    log = folder.parent / f"{folder.name}.log"
    cost, start = Cost(), time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(_command(folder, *extra), cwd=ROOT, stdout=file, stderr=file)
        worker = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                _look(worker, cost)
            time.sleep(0.05)
    cost.wall = time.perf_counter() - start
    if process.wait() != 0:
        raise RuntimeError(log.read_text())
    return cost


def _look(worker: psutil.Process, cost: Cost) -> None:
    """Bring `cost` up to date. The server of the runs' processes has the times of those that ended."""
    own = worker.cpu_times()
    cost.worker = own.user + own.system
    cost.mib = max(cost.mib, worker.memory_info().rss / 2**20)
    cost.runs = max(cost.runs, sum(sum(child.cpu_times()[:4]) for child in worker.children()))


def _run(folder: Path) -> None:
    subprocess.run(_command(folder), cwd=ROOT, check=True, capture_output=True)


def _command(folder: Path, *extra: str) -> list[str]:
    paths = [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    return [sys.executable, "run.py", *TRIAL, *paths, *extra]
