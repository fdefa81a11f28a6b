"""What a worker keeps in memory: resident size after so many trials of one study, its runs scripted.

`python -m benchmarks.memory FOLDER` is the study, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from nanochat.core.artifact import read_json, write_json
from nanochat.study.trial import Trial
from nanochat.study.watch import Watch
from nanochat.study.work import work_on
from tests.study import targets
from tests.study.studies import open_small

ROOT = Path(__file__).resolve().parents[1]
SIZES = (20, 100, 1000)
FILE = "mib.json"


def measure() -> dict[str, Any]:
    """MiB of the worker after so many trials, the most it ever had, and what a thousand trials add."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "benchmarks.memory", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        sizes = read_json(Path(name) / FILE)
    first, second, last = (sizes[str(size)] for size in SIZES)
    return {
        **{f"worker_mib_at_{size}_trials": round(sizes[str(size)], 1) for size in SIZES},
        "worker_peak_mib": round(sizes["peak"], 1),
        "worker_memory_growth": round(last / first, 3),
        "worker_mib_per_1000_trials": round((last - second) / (SIZES[2] - SIZES[1]) * 1000, 2),
    }


def study(folder: Path) -> None:
    """Work on the study, and note how large this process is on the way."""
    me, sizes, ended = psutil.Process(), {"peak": 0.0}, 0
    tell = Watch.finished

    def finished(self: Watch, trial: Trial, result: Mapping[str, Any]) -> None:
        nonlocal ended
        ended += 1
        mib = me.memory_info().rss / 2**20
        sizes["peak"] = max(sizes["peak"], mib)
        if ended in SIZES:
            sizes[str(ended)] = mib
        tell(self, trial, result)

    Watch.finished = finished
    opened = open_small(folder, "lr.peak=tag(log, interval(1e-3, 1e-1))", f"study.trials={max(SIZES)}")
    outcome = work_on(opened, target=targets.complete)
    assert outcome.complete
    write_json(folder / FILE, sizes)


if __name__ == "__main__":
    os.environ["NANOCHAT_QUIET"] = "1"
    study(Path(sys.argv[1]))
