"""A study whose workers are jobs: real ones, as processes of this machine; and what no cluster can do."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.core.artifact import read_json
from tests.runs import SMALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_two_jobs_share_a_study_while_the_head_waits_and_shows_the_table(tmp_path: Path) -> None:
    paths = (f"paths.multirun={tmp_path}/multirun", f"paths.experiments={tmp_path}/experiments")
    words = ("hydra/launcher=submitit_local", "study.workers=2", "study.slots=1", "study.name=jobs")
    arms = ("attention=mla,gqa", "seed=1,2", "stop.steps=4")
    done = subprocess.run(
        [sys.executable, "run.py", *SMALL, *paths, *words, *arms, "-m"],
        cwd=ROOT,
        env={**os.environ, "NANOCHAT_QUIET": "0"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "multirun" / "studies" / "jobs"
    jobs = read_json(folder / "jobs" / "jobs.json")
    assert [job["cluster"] for job in jobs] == ["local", "local"]
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["complete"] * 4
    assert len({row["key"] for row in rows}) == 4
    assert "jobs: test bits per byte" in done.stdout
    assert (tmp_path / "experiments" / "jobs" / "results.csv").exists()


@pytest.mark.skipif(shutil.which("srun") is not None, reason="there is a SLURM here")
def test_without_slurm_its_launcher_is_refused_in_a_line(program, tmp_path: Path) -> None:
    said = program("hydra/launcher=submitit_slurm", "attention=mla,gqa", "stop.steps=2", "study.workers=2", "-m")
    assert said.code == 1
    assert said.err.startswith("hydra/launcher=submitit_slurm: ") and len(said.err.splitlines()) == 1
    assert not (tmp_path / "multirun" / "runs").exists()
