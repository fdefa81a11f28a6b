"""`task=plan`: what a run, or with `-m` a study, will cost; nothing is trained."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from nanochat.run.folder import RunFolder, identify
from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec, Settings
from nanochat.study.compare import Study
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


def study_table(study: Study) -> Table:
    """A study's matrix and its cost, an arm a line; runs that are complete already will not be run again."""
    definition, spec = study.definition, study.spec
    table = Table(title=f"{definition.name}: what it will run", title_justify="left", box=None)
    for name in ("arm", "parameters", "tuning", "seeds", "tokens a run", "training FLOPs"):
        table.add_column(name, justify="left" if name == "arm" else "right", overflow="fold")
    total, runs = 0.0, 0
    for arm in definition.arms:
        run = study.runs.spec(arm, params=definition.first[arm.name], seed=definition.seeds[0])
        tuning = spec.trials + spec.extend if arm.axes else 0
        count = tuning + len(definition.seeds)
        flops = count * run.tokens * run.training_cost.flops
        total, runs = total + flops, runs + count
        seeds = str(len(definition.seeds))
        table.add_row(arm.name, f"{run.cost.params:,}", str(tuning), seeds, f"{run.tokens:,}", f"{flops:.3e}")
    table.add_section()
    table.add_row("all", "", f"{runs} runs", "", "", f"{total:.3e}")
    return table
