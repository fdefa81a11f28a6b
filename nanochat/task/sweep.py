"""`-m`: carry out a study, on this machine or by jobs of a cluster, and show what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from nanochat.core.errors import spec_error
from nanochat.core.spec import option_of
from nanochat.study.cluster import cluster_of
from nanochat.study.compare import open_study
from nanochat.study.jobs import work_by_jobs
from nanochat.study.work import work_on
from nanochat.task.base import StudyTaskSpec, validate
from nanochat.task.conclude import conclude
from nanochat.task.plan import plan_study, view_of
from nanochat.task.train import TrainSpec

# FLOPs of a study that is over sooner than its runs could be timed: about a minute on a core.
WORTH_TIMING = 5e11


def sweep(config: Mapping[str, Any], overrides: Sequence[str], *, launcher: Mapping[str, Any]) -> int:
    """Work on the study that the overrides of a `-m` command describe; returns the exit code.

    `launcher`: Hydra's, by which workers are started as jobs of a cluster.
    """
    _, _, task = validate(config)
    if isinstance(task, StudyTaskSpec):
        raise spec_error("task", option_of(task), "does nothing with -m", "leave -m out")
    study = open_study(config, overrides)
    if not isinstance(task, TrainSpec):
        return task.survey(study)
    console, cluster = Console(highlight=False), cluster_of(launcher)
    if cluster is None and study.spec.workers > 1:
        remedy = "add hydra/launcher=submitit_slurm, or leave study.workers out: one keeps all slots busy"
        raise spec_error("study.workers", study.spec.workers, "are jobs of a cluster", remedy)
    plan = plan_study(study, timed_from=WORTH_TIMING)
    if plan.left:
        console.print(*view_of(plan), sep="\n")
    if cluster is None:
        return conclude(work_on(study), console=console)
    return conclude(work_by_jobs(study, cluster=cluster, launcher=launcher), console=console)
