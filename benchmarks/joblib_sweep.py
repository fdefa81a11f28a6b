"""40 runs as a study, beside the same 40 as jobs of Hydra's own sweeper and its joblib launcher, two at a time.

`python -m benchmarks.joblib_sweep WORDS -m` is the peer: the same configs, composed and run by the same code.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.runs import SMALL

ROOT = Path(__file__).resolve().parents[1]
TURNS, RUNS = 2, 40

RUN = [*SMALL, "stop.steps=40", "eval.evaluations=1"]
SEEDS = "seed=" + ",".join(map(str, range(1, RUNS + 1)))


def measure() -> dict[str, Any]:
    """Seconds of each, and how many times as long the peer takes: median, lowest and highest turn."""
    ours, peer = [], []
    for turn in range(TURNS):
        with tempfile.TemporaryDirectory() as name:
            sides = [(ours, _study), (peer, _peer)]
            for times, side in sides if turn % 2 == 0 else reversed(sides):
                times.append(side(Path(name)))
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return {
        "study_s": round(median(ours), 1),
        "joblib_launcher_s": round(median(peer), 1),
        "joblib_launcher_of_study": {
            "median": round(median(ratios), 2), "lowest": round(min(ratios), 2), "highest": round(max(ratios), 2)
        },
    }  # fmt: skip


def _study(folder: Path) -> float:
    return _timed([sys.executable, "run.py", *RUN, *_paths(folder / "study"), SEEDS, "study.slots=2", "-m"])


def _peer(folder: Path) -> float:
    launcher = ["hydra/sweeper=basic", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    places = [f"hydra.sweep.dir={folder}/hydra"]
    words = [*RUN, *_paths(folder / "peer"), SEEDS, *launcher, *places, "-m"]
    return _timed([sys.executable, "-m", "benchmarks.joblib_sweep", *words])


def _paths(folder: Path) -> list[str]:
    return [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - began


def peer() -> None:
    """One job: what `run.py` does with a run."""
    import hydra

    from nanochat.core.compose import CONF, plain

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def job(config: Any) -> None:
        from nanochat.run.execute import execute
        from nanochat.run.spec import run_spec, settings
        from nanochat.trainer.control import Silent

        whole = plain(config)
        result = execute(run_spec(whole).resolve(), settings=settings(whole), control=Silent())
        assert result["status"] == "complete", result

    job()


if __name__ == "__main__":
    peer()
