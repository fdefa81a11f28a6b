"""Workers as jobs of a cluster: `hydra/launcher=submitit_slurm study.workers=8`.

Each job runs `run.py task=worker study.name=…`, an ordinary worker of the study: it joins, works and ends as one that
is started by hand. The command that submits them only watches, and may end without ending them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.core.artifact import read_json, write_json
from nanochat.core.errors import MachineError, spec_error

ROOT = Path(__file__).resolve().parents[2]
JOBS = "jobs.json"
LOOK_SECONDS = 2.0

# Fields of Hydra's launchers that say how submitit works, not what a job gets.
NOT_PARAMETERS = ("_target_", "submitit_folder", "max_num_timeout", "tasks_per_node", "nodes")
SHARED = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "name", "stderr_to_stdout")


def cluster_of(launcher: Mapping[str, Any]) -> str | None:
    """`slurm` or `local`, of a launcher of Hydra's submitit plugin; None for Hydra's own.

    Raises `SpecError` for others.
    """
    target = str(launcher.get("_target_", ""))
    known = {"SlurmLauncher": "slurm", "LocalLauncher": "local", "BasicLauncher": None}
    name = target.rpartition(".")[2]
    if name not in known:
        rule = "starts trials; a study starts workers that look for trials themselves"
        raise spec_error("hydra/launcher", name, rule, "use hydra/launcher=submitit_slurm, or leave it out")
    return known[name]


def submit(cluster: str, launcher: Mapping[str, Any], *, count: int, words: Sequence[str], folder: Path) -> list[str]:
    """Submit `count` workers with the overrides `words`; returns the ids of their jobs. Their output lies in `folder`.

    Raises `MachineError` where there is no such cluster.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        remedy = "run it where sbatch is, or leave hydra/launcher out to work on this machine"
        raise MachineError(f"hydra/launcher=submitit_{cluster}: {error}; {remedy}") from error
    executor.update_parameters(**_parameters(cluster, launcher))
    command = [sys.executable, str(ROOT / "run.py"), "task=worker", *words]
    try:
        jobs = [executor.submit(_work, command, str(Path.cwd())) for _ in range(count)]
    except (FailedJobError, subprocess.CalledProcessError, OSError) as error:
        raise MachineError(f"hydra/launcher=submitit_{cluster}: the job was refused ({error})") from error
    ids = [str(job.job_id) for job in jobs]
    known = read_json(folder / JOBS) if (folder / JOBS).exists() else []
    write_json(folder / JOBS, [*known, *({"cluster": cluster, "id": name} for name in ids)])
    return ids


def alive(folder: Path) -> list[str]:
    """The jobs submitted for a study that wait or run."""
    import submitit

    known = read_json(folder / JOBS) if (folder / JOBS).exists() else []
    ended = {"slurm": lambda name: submitit.SlurmJob(folder, name).done(), "local": _ended}
    return [job["id"] for job in known if not ended[job["cluster"]](job["id"])]


def watch(folder: Path, *, done: Callable[[], bool]) -> bool:
    """Wait until the study is done, or none of its jobs is left; returns whether it is done."""
    while not done():
        if not alive(folder):
            return done()
        time.sleep(LOOK_SECONDS)
    return True


def _parameters(cluster: str, launcher: Mapping[str, Any]) -> dict[str, Any]:
    """What a job asks for, in submitit's names; what is null is left to the cluster."""
    given = {name: value for name, value in launcher.items() if name not in NOT_PARAMETERS and value is not None}
    return {name if name in SHARED else f"{cluster}_{name}": value for name, value in given.items()}


def _ended(pid: str) -> bool:
    """Whether a job that is a process of this machine is gone. submitit itself knows only those it holds in memory."""
    try:
        return os.waitpid(int(pid), os.WNOHANG) != (0, 0)  # our own child, which would stay as a zombie otherwise
    except ChildProcessError:
        pass  # another command's
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    return False


def _work(command: list[str], cwd: str) -> int:
    """In the job: be the worker, and hand on the signals that say that time is nearly up."""
    worker = subprocess.Popen(command, cwd=cwd)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: worker.terminate())
    return worker.wait()
