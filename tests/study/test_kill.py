"""Killed at any moment and repeated, a study gives bit for bit the same table. With real runs and kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nanochat.run import child
from nanochat.run.folder import RunFolder
from tests.study import targets
from tests.study.studies import command, lasting, run_study

ROOT = Path(__file__).resolve().parents[2]

# About a second of training a run, a checkpoint ten times in it.
STUDY = (
    "lr.peak=tag(log, interval(1e-3, 3e-2))",
    "study.trials=2",
    "study.lag=1",
    "seed=1,2",
    "stop.steps=60",
    "checkpoint=0.05",
)

# Nothing here waits so long unless it never comes.
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same study, undisturbed."""
    folder = tmp_path_factory.mktemp("calm")
    assert run_study(folder, *STUDY, target=child.main).complete
    return folder


def test_killed_workers_and_children_leave_the_same_table(tmp_path: Path, calm: Path) -> None:
    kill_worker(tmp_path, when=lambda: any((tmp_path / "multirun" / "runs").glob("*/metrics.csv")))
    outcome = run_study(tmp_path, *STUDY, target=targets.fragile)
    assert outcome.complete
    attempts = [int(path.read_text()) for path in (tmp_path / "multirun").glob("begun-*")]
    assert max(attempts) > 1, "no child was killed"
    undisturbed = run_study(calm, *STUDY, target=child.main)
    assert lasting(list(outcome.rows)) == lasting(list(undisturbed.rows))
    for row in outcome.rows:
        files = [RunFolder(folder / "multirun" / "runs" / row["key"]).model_file for folder in (tmp_path, calm)]
        assert files[0].read_bytes() == files[1].read_bytes(), "a resumed run is the same run"


def test_a_run_of_one_study_is_reused_by_another(calm: Path) -> None:
    other = run_study(calm, *STUDY, "study.name=other", target=targets.refusing)
    first = run_study(calm, *STUDY, target=targets.refusing)
    assert first.again and not other.again
    assert other.rows == first.rows


def kill_worker(folder: Path, *, when: Callable[[], bool]) -> None:
    """Start the study in a process of its own, kill -9 it at a moment; what it started ends by itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen(
        [sys.executable, "run.py", *command(folder, *STUDY), "-m"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: when() or worker.poll() is not None)
    assert worker.poll() is None, worker.stderr and worker.stderr.read().decode()
    started = psutil.Process(worker.pid).children(recursive=True)
    assert started
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    _, alive = psutil.wait_procs(started, timeout=PATIENCE_SECONDS)
    assert alive == [], "orphans"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
