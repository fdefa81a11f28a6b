"""A study in a storm of kill -9: workers and runs die at random moments, and what comes out is compared with calm."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.study.studies import command

ROOT = Path(__file__).resolve().parents[2]

# TPE after two random trials, pruning by the median from the first complete one, a lag in which trials race.
STUDY = (
    "lr.peak=tag(log, interval(3e-4, 1e-1))",
    "seed=1,2",
    "sampler.startup=2",
    "pruner=median",
    "pruner.startup=1",
    "study.lag=3",
    "study.most_lost=1000",
    "stop.steps=60",
    "eval.evaluations=4",
    "checkpoint=0.05",
    "study.name=storm",
)

# Nothing takes so long unless it never ends.
PATIENCE_SECONDS = 120.0


@dataclass
class Storm:
    """kills: how many of runs and of workers there were · writers: every moment at which a folder had two."""

    folder: Path
    trials: int
    random: random.Random
    say: Callable[[str], None] = lambda _: None
    kills: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    writers: list[str] = field(default_factory=list)

    def rage(self, *, runs: int, workers: int, pause: tuple[float, float]) -> None:
        """Kill so many runs and workers, with a pause between two kills; then let the study come to its end.

        Workers die evenly among the runs, not at random: a quick study would be over before its only one was drawn.
        """
        worker = self.start()
        with self.watched():
            while worker.poll() is None:
                time.sleep(self.random.uniform(*pause))
                children = [child for server in _children(worker.pid) for child in _children(server.pid)]
                left = {"run": runs - self.kills["run"], "worker": workers - self.kills["worker"]}
                due = self.kills["run"] >= (self.kills["worker"] + 1) * runs / (workers + 2)
                if children and left["worker"] > 0 and due:
                    self.kill_worker(worker)
                    worker = self.start()
                elif children and left["run"] > 0:
                    victim = self.random.choice(children)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.kill()
                        self.note("run", victim.pid)
        assert worker.returncode == 0, (self.folder / "worker.log").read_text()

    def kill_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9; what it started ends by itself."""
        started = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
        worker.wait()
        self.note("worker", worker.pid)
        _, alive = psutil.wait_procs(started, timeout=PATIENCE_SECONDS)
        assert alive == [], f"orphans: {alive}"

    def start(self) -> subprocess.Popen[bytes]:
        """The command that a person would repeat."""
        words = command(self.folder, *STUDY, f"study.trials={self.trials}")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NANOCHAT_QUIET": "1"}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "run.py", *words, "-m"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def note(self, what: str, pid: int) -> None:
        self.kills[what] += 1
        self.say(f"kill {sum(self.kills.values())}: {what} {pid}")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look, many times a second, who has each run's metrics open for writing."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.03):
                self.writers += [f"{path}: {pids}" for path, pids in _writers(self.folder).items() if len(pids) > 1]

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def table(folder: Path) -> list[dict[str, str]]:
    """The study's results, without the one column that is never the same twice."""
    path = folder / "multirun" / "studies" / "storm" / "results.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, bytes]:
    """The weights of every complete run, by key."""
    keys = {row["key"] for row in table(folder) if row["status"] == "complete"}
    return {key: (folder / "multirun" / "runs" / key / "model.safetensors").read_bytes() for key in sorted(keys)}


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _writers(folder: Path) -> dict[str, set[int]]:
    """The processes that have a run's metrics.csv under `folder` open."""
    found: dict[str, set[int]] = defaultdict(set)
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith(str(folder)) and target.endswith("metrics.csv"):
                found[target].add(int(link.parts[2]))
    return found
