"""The service unit and the workflow that come along: they load, and keep what they promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nanochat.core.compose import CONF

ROOT = CONF.parent
UNIT = ROOT / "deploy" / "nanochat-schedule.service"
WORKFLOW = ROOT / ".github" / "workflows" / "studies.yml"


def settings(section: str) -> dict[str, str]:
    lines = UNIT.read_text().partition(f"[{section}]")[2].partition("\n[")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_unit_outlasts_every_grace_and_signals_the_scheduler_alone() -> None:
    service = settings("Service")
    graces = [yaml.safe_load(path.read_text())["grace"] for path in (CONF / "schedule").glob("*.yaml")]
    assert int(service["TimeoutStopSec"]) > max(graces)
    assert (service["KillSignal"], service["KillMode"], service["Restart"]) == ("SIGTERM", "mixed", "on-failure")
    assert service["RestartPreventExitStatus"] == "2"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    python = tmp_path / "nanochat" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("%h", str(tmp_path)))
    said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def workflow() -> dict:
    return yaml.load(WORKFLOW.read_text(), Loader=yaml.BaseLoader)


def test_the_workflow_is_started_in_three_ways() -> None:
    on = workflow()["on"]
    assert on["push"]["paths"] == ["conf/experiment/**", "experiments/**"]
    assert on["schedule"][0]["cron"] and "experiment" in on["workflow_dispatch"]["inputs"]


def test_the_workflow_puts_nothing_from_outside_into_a_shell() -> None:
    jobs = workflow()["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert len(scripts) == 3 and not any("${{" in script for script in scripts)
    for script in scripts:
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_a_study_never_overlaps_itself_and_keeps_its_results() -> None:
    study = workflow()["jobs"]["study"]
    assert study["concurrency"] == {"group": "study-${{ matrix.experiment }}", "cancel-in-progress": "false"}
    checkout, *_, upload = study["steps"]
    assert checkout["with"]["clean"] == "false", "multirun/ is where a paused study goes on from"
    assert upload["uses"].startswith("actions/upload-artifact@") and upload["if"] == "always()"
    limit = re.search(r"timeout .* (\d+)h ", next(s["run"] for s in study["steps"] if s.get("name") == "study"))
    assert limit and int(limit[1]) * 60 < int(study["timeout-minutes"])


def chosen(folder: Path, **environment: str) -> tuple[int, str]:
    script = ROOT / ".github" / "choose_experiments.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip() or done.stderr.strip()


def test_the_experiments_of_a_job_are_files_that_exist(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    def put(*paths: str) -> None:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("x: 1\n")
        git("add", ".")
        git("commit", "-qm", "change")

    git("init", "-q")
    put("conf/experiment/a.yaml", "conf/experiment/b.yaml", "conf/experiment/c.yaml")
    before = git("rev-parse", "HEAD").strip()
    put("README.md", "experiments/b/results.csv", "experiments/gone/results.csv", "conf/experiment/d.yaml")
    assert chosen(tmp_path, EVENT="push", BEFORE=before) == (0, 'experiments=["b", "d"]')
    assert chosen(tmp_path, EVENT="push", BEFORE="1" * 40) == (0, 'experiments=["b", "d"]'), "a commit that is gone"
    assert chosen(tmp_path, EVENT="push", BEFORE="0" * 40) == (0, 'experiments=["b", "d"]')
    assert chosen(tmp_path, EVENT="workflow_dispatch", ASKED="c") == (0, 'experiments=["c"]')
    assert chosen(tmp_path, EVENT="schedule", NIGHTLY="a") == (0, 'experiments=["a"]')
    assert chosen(tmp_path, EVENT="schedule", NIGHTLY="") == (0, "experiments=[]")
    code, said = chosen(tmp_path, EVENT="workflow_dispatch", ASKED='a"; rm -rf /')
    assert code == 2 and "is no experiment" in said
