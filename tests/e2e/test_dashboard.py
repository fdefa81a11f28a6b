"""`task=dashboard` serves a study's storage to this machine, and ends on Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.study import targets
from tests.study.studies import command, run_study

pytestmark = pytest.mark.slow

pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")

ROOT = Path(__file__).resolve().parents[2]
STUDY = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "study.trials=2", "study.name=shown")
PATIENCE_SECONDS = 60.0


def test_the_trials_of_a_study_can_be_looked_at(tmp_path: Path) -> None:
    run_study(tmp_path, *STUDY, target=targets.complete)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [word for word in command(tmp_path) if word.startswith("paths.")]
    process = subprocess.Popen(
        [sys.executable, "run.py", *paths, "task=dashboard", f"task.port={port}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        studies = answer(f"http://127.0.0.1:{port}/api/studies", process)["study_summaries"]
        assert [study["study_name"].partition(":")[0] for study in studies] == ["shown", "shown"]
        trials = answer(f"http://127.0.0.1:{port}/api/studies/{studies[1]['study_id']}", process)["trials"]
        assert [trial["state"] for trial in trials] == ["Complete", "Complete"]
    finally:
        out = interrupted(process)
    assert f"shown: http://127.0.0.1:{port}" in out


def interrupted(process: subprocess.Popen[str]) -> str:
    """What it printed, ended by Ctrl-C: the server swallows one that comes in the middle of an answer."""
    for _ in range(int(PATIENCE_SECONDS)):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=1.0)[0]
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("Ctrl-C does not end it")


def answer(url: str, process: subprocess.Popen[str]) -> dict:
    """What the page's own interface says, once it is there."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)
        except OSError:
            assert time.monotonic() < end and process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.2)


def test_no_study_is_said_in_a_line(program) -> None:
    said = program("task=dashboard")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "study.name" in said.err and "none yet" in said.err
