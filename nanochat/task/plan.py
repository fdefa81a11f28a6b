"""`task=plan`: what a run, or with `-m` a study, will cost; nothing is trained."""

from __future__ import annotations

import datetime
import shutil
from collections import Counter
from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.table import Table

from nanochat.run.folder import RunFolder, identify
from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec, Settings
from nanochat.study.calibrate import Pace, Unknown, calibrate, told_by_run
from nanochat.study.compare import Study
from nanochat.study.plan import Plan, plan_arm
from nanochat.task.base import TaskSpec


class PlanSpec(TaskSpec):
    """Show size and cost of the run; with `-m`, of every arm of the study."""

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        key = identify(run, cache=settings.paths.cache)
        console = Console(highlight=False, soft_wrap=True)
        console.print(run_table(run))
        state = RunFolder(settings.paths.runs / key).result()
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
        ("tokens per parameter", f"{run.tokens / cost.params:.1f}"),
        ("training FLOPs per token", f"{training.flops:.3e} (MFU convention {training.flops_mfu:.3e})"),
        ("training FLOPs", f"{training.flops * run.tokens:.3e} (MFU convention {training.flops_mfu * run.tokens:.3e})"),
        ("decoding state per token", f"{cost.state_bytes:,.0f} bytes at 2 bytes an element"),
        ("weights, gradients, optimizer", mebibytes(memory.weights + memory.gradients + memory.optimizer)),
        ("kept by a forward pass", mebibytes(memory.activations)),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        table.add_row(name, value)
    return table


def mebibytes(count: int | None) -> str:
    """`12.3 MiB`; a dash for what is not known."""
    return "–" if count is None else f"{count / 2**20:,.1f} MiB"


def study_table(study: Study) -> Group:
    """What a study will run and cost on this machine, after a short calibration; nothing is trained to its end."""
    arms = {arm.name: study.first_run(arm) for arm in study.definition.arms}
    told = {name: told_by_run(run, settings=study.settings) for name, run in arms.items()}
    unknown = {name: run for name, run in arms.items() if told[name] is None}
    with study.open_slots() as slots:
        paces = calibrate(unknown, slots=slots, settings=study.settings)
    reasons = [f"{name}: no time known ({pace.reason})" for name, pace in paces.items() if isinstance(pace, Unknown)]
    return Group(*view(plan_study(study, arms, told=told, paces=paces, slots=len(slots))), *reasons)


def plan_study(
    study: Study,
    runs: Mapping[str, RunSpec],
    *,
    told: Mapping[str, float | None],
    paces: Mapping[str, Pace | Unknown],
    slots: int,
) -> Plan:
    """The plan from a run of each arm, the seconds that it took (`told`) or the pace of its kind."""
    definition, spec = study.definition, study.spec
    done = Counter(row["arm"] for row in study.written_rows())
    arms = []
    for arm in definition.arms:
        run, pace = runs[arm.name], paces.get(arm.name)
        known = isinstance(pace, Pace)
        arms.append(
            plan_arm(
                arm.name,
                run,
                tuning=spec.trials + spec.extend if arm.axes else 0,
                seeds=len(definition.seeds),
                done=done[arm.name],
                seconds=pace.run(run, checkpoint=study.settings.checkpoint) if known else told[arm.name],
                documents=pace.documents if known else None,
            )
        )
    root = study.settings.paths.root
    return Plan(
        name=definition.name,
        arms=tuple(arms),
        slots=slots,
        pruned=not definition.pruner["_target_"].endswith(".NoneSpec"),
        most_flops=spec.flops,
        most_hours=spec.hours,
        free=shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free,
    )


def view(plan: Plan) -> list[RenderableType]:
    """A plan at 80 columns: an arm a line, then what it all comes to."""
    at_most = "at most " if plan.pruned else ""
    table = Table(title=f"{plan.name}: what it will run", title_justify="left", box=None, pad_edge=False)
    for name in ("arm", "params", "tuning", "seeds", "tokens/run", "FLOPs", "time/run"):
        table.add_column(name, justify="left" if name == "arm" else "right", overflow="fold")
    for arm in plan.arms:
        counts = (str(arm.tuning), str(arm.seeds), short(arm.tokens))
        flops, seconds = f"{arm.runs * arm.flops:.2e}", span(arm.seconds)
        table.add_row(arm.name, short(arm.params), *counts, flops, seconds)
    seconds = plan.seconds
    lines = [
        f"{plan.runs} runs, {plan.left} of them to do, {plan.slots} at a time · {at_most}{plan.flops:.2e} FLOPs",
        f"disk: {at_most}{size(plan.disk)} more, {size(plan.free)} free",
    ]
    if seconds is not None and plan.left:
        end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        lines.insert(1, f"time: {at_most or 'about '}{span(seconds)}, done {at_most and 'by '}{clock_time(end)}")
    return [table, *lines, *warnings(plan)]


def warnings(plan: Plan) -> list[str]:
    """What will stop the study before its end."""
    found = []
    if plan.disk > plan.free:
        found.append("the disk will be full before the end: free some, or move paths.multirun")
    if plan.most_flops is not None and plan.flops > plan.most_flops:
        found.append(f"study.flops={plan.most_flops:.3g} ends it sooner")
    if plan.most_hours is not None and plan.seconds is not None and plan.seconds > 3600 * plan.most_hours:
        found.append(f"study.hours={plan.most_hours:g} ends it sooner")
    return found


def span(seconds: float | None) -> str:
    """`42 s`, `12 min`, `3.4 h` or `2.1 days`; a dash for what is not known."""
    if seconds is None:
        return "–"
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{seconds / 86400:.1f} days"


def clock_time(moment: datetime.datetime) -> str:
    """`14:05` today, else `Tue 3 Jun 14:05`."""
    today = moment.date() == datetime.date.today()
    return f"{moment:%H:%M}" if today else f"{moment:%a} {moment.day} {moment:%b %H:%M}"


def short(count: float) -> str:
    """Three digits: `105K`, `1.52M`, `250B`."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.3g}{name}" if count < 999.5 * unit else f"{count / unit:.0f}{name}"
    return f"{count:.0f}"


def size(count: int) -> str:
    """`1.2 GiB` or `34.5 MiB`."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
