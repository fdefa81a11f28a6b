"""`task=plan`: what a run, or with `-m` a study, will cost; nothing is trained."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table

from nanochat.core.errors import MachineError
from nanochat.report.planned import view
from nanochat.report.planned_points import view as points_view
from nanochat.run.folder import RunFolder, identify
from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.trunk import trunk_state
from nanochat.study.calibrate import Pace, Unknown, calibrate, told_by_run
from nanochat.study.compare import Study
from nanochat.study.plan import Plan, plan_arm
from nanochat.study.plan_points import PointsPlan, plan_points
from nanochat.task.base import TaskSpec


class PlanSpec(TaskSpec):
    """Show size and cost of the run; with `-m`, of every arm of the study."""

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        key = identify(run, cache=settings.paths.cache)
        console = Console(highlight=False, soft_wrap=True)
        folder = RunFolder(settings.paths.runs / key)
        state = folder.result()
        if run.start.run is not None and state is None:
            trunk_state(run, settings=settings)
        console.print(run_table(run))
        console.print(f"run {key}: {state['status'] if state else 'not begun'}")
        return 0

    def survey(self, study: Study) -> int:
        Console(highlight=False).print(study_table(study))
        return 0


def run_table(run: RunSpec) -> Table:
    """A resolved run's cost, one line a figure."""
    vocab, context = run.tokenizer.ids, run.context
    cost, training, memory = run.cost, run.training_cost, training_memory(run)
    body = run.architecture.non_embedding_params(vocab=vocab, context=context)
    rows = [
        ("parameters", f"{cost.params:,}"),
        ("  without embedding and head", f"{body:,}"),
        ("  active for one token", f"{cost.active_params:,}"),
        ("training tokens", f"{run.tokens:,} in {run.steps:,} steps of {run.batch.tokens:,}"),
        *_shared(run),
        ("tokens per parameter", f"{run.tokens / cost.params:.1f}"),
        ("training FLOPs per token", f"{training.flops:.3e} (MFU convention {training.flops_mfu:.3e})"),
        (
            "training FLOPs" if run.start.run is None else "training FLOPs to be spent",
            f"{training.flops * run.own_tokens:.3e} (MFU convention {training.flops_mfu * run.own_tokens:.3e})",
        ),
        ("decoding state per token", f"{cost.state_bytes:,.0f} bytes at 2 bytes an element"),
        ("weights, gradients, optimizer", mebibytes(memory.weights + memory.gradients + memory.optimizer)),
        ("kept by a forward pass", mebibytes(memory.activations)),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _shared(run: RunSpec) -> list[tuple[str, str]]:
    """Which of the tokens another run has trained on already, and which are left to this one."""
    if run.start.run is None:
        return []
    own = f"{run.own_tokens:,} in {run.steps - run.first_step:,} steps"
    return [("  done, in run " + run.start.run, f"{run.start.tokens:,}"), ("  to be trained", own)]


def mebibytes(count: int | None) -> str:
    """`12.3 MiB`; a dash for what is not known."""
    return "–" if count is None else f"{count / 2**20:,.1f} MiB"


def study_table(study: Study) -> Group:
    """What a study will run and cost on this machine, after a short calibration; nothing is trained to its end."""
    return Group(*view_of(plan_study(study)))


def view_of(plan: Plan | PointsPlan) -> list[RenderableType]:
    """A plan at 80 columns, by its kind."""
    return points_view(plan) if isinstance(plan, PointsPlan) else view(plan)


def plan_study(study: Study, *, timed_from: float = 0.0) -> Plan | PointsPlan:
    """The plan of a study. In one of `timed_from` FLOPs or more each arm's runs are timed, where runs are left, unless
    one has told how long it takes."""
    if study.definition.design is not None:
        return _plan_points(study, timed_from=timed_from)
    runs = {arm.name: study.first_run(arm) for arm in study.definition.arms}
    told = {name: told_by_run(run, settings=study.settings) for name, run in runs.items()}
    unknown = {name: run for name, run in runs.items() if told[name] is None}
    done = Counter(row["arm"] for row in study.written_rows())
    seeds = study.seeds_wanted
    flops = sum((study.tuning(a) + seeds) * runs[a.name].own_flops for a in study.definition.arms)
    timed = flops >= timed_from
    slots, paces = _timed(study, unknown if done.total() < study.total else {}, timed=timed)
    spec, root = study.spec, study.settings.paths.root
    arms = []
    for arm in study.definition.arms:
        run, pace = runs[arm.name], paces.get(arm.name)
        measured = pace if isinstance(pace, Pace) else None
        arms.append(
            plan_arm(
                arm.name,
                run,
                tuning=study.tuning(arm),
                seeds=seeds,
                done=done[arm.name],
                seconds=measured.run(run, checkpoint=study.settings.checkpoint) if measured else told[arm.name],
                documents=measured.documents if measured else None,
            )
        )
    return Plan(
        name=study.definition.name,
        arms=tuple(arms),
        slots=slots,
        lag=study.definition.lag,
        pruned=not study.definition.pruner["_target_"].endswith(".NoneSpec"),
        most_flops=spec.flops,
        most_hours=spec.hours,
        free=_free(root),
        unknown={name: pace.reason for name, pace in paces.items() if isinstance(pace, Unknown)},
        matched=study.definition.matched,
        looks=seeds == len(study.definition.seeds) and bool(study.definition.reading.looks),
    )


def _plan_points(study: Study, *, timed_from: float) -> PointsPlan:
    """The plan of a scaling study: each of its sizes is timed."""
    definition, spec, how = study.definition, study.spec, study.settings
    runs = {arm.name: study.first_run(arm) for arm in definition.arms}
    done = len(study.written_rows())
    slots, paces = _timed(study, runs, timed=max(spec.flops or 0.0, math.inf if spec.hours else 0.0) >= timed_from)
    known = {name: pace for name, pace in paces.items() if isinstance(pace, Pace)}
    keeps = [plan_arm(n, run, tuning=0, seeds=1, done=0, seconds=None, documents=None) for n, run in runs.items()]
    milestone = definition.design is not None and definition.design.branches
    return plan_points(
        definition,
        done=done,
        slots=slots,
        paces={name: pace.of(runs[name], checkpoint=how.checkpoint) for name, pace in known.items()},
        most_flops=spec.flops,
        most_hours=spec.hours,
        disk=sum(arm.folder + milestone * arm.checkpoint for arm in keeps),
        free=_free(how.paths.root),
    )


def _free(root: Path) -> int:
    """Bytes left on the disk that the runs are written to."""
    return shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free


def _timed(study: Study, runs: Mapping[str, RunSpec], *, timed: bool) -> tuple[int, Mapping[str, Pace | Unknown]]:
    """How many slots the study has now, and, if they are to be `timed`, the paces of runs in them. Trouble with the
    machine, slots that others hold among it, costs the plan its times and nothing else: the work itself will say so."""
    if not runs:
        return 1, {}
    try:
        with study.open_slots() as slots:
            return len(slots), calibrate(runs, slots=slots, settings=study.settings) if timed else {}
    except MachineError as error:
        return 1, dict.fromkeys(runs, Unknown(reason=str(error)))
