"""`task=cost`: what models cost, side by side; nothing is built. `task=cost attention=mla,gqa,sparse` needs no `-m`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec, Settings
from nanochat.study.compare import Study
from nanochat.task.base import TaskSpec
from nanochat.task.plan import mebibytes


class CostSpec(TaskSpec):
    """Show parameters, FLOPs, decoding state and training memory of the run, or of every arm of the study."""

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        show([("", run)])
        return 0

    def survey(self, study: Study) -> int:
        definition = study.definition
        arms = [
            (arm.name, study.runs.spec(arm, params=definition.first[arm.name], seed=definition.seeds[0]))
            for arm in definition.arms
        ]
        show(arms)
        return 0


def show(runs: Sequence[tuple[str, RunSpec]]) -> None:
    """The figures of resolved runs, a column each; as many columns at a time as the terminal is wide."""
    console = Console(highlight=False)
    width = max(len(name) for name, _ in rows(runs[0][1]))
    arms = max(1, (console.width - width) // (2 + max(14, *(len(name) for name, _ in runs))))
    for start in range(0, len(runs), arms):
        console.print(table(runs[start : start + arms]))


def table(runs: Sequence[tuple[str, RunSpec]]) -> Table:
    """One column for each of the named runs, one line for each figure."""
    made = Table(box=None, pad_edge=False)
    made.add_column("")
    columns = [dict(rows(run)) for _, run in runs]
    for name, _ in runs:
        made.add_column(name, justify="right", overflow="fold")
    for figure in columns[0]:
        made.add_row(figure, *(column[figure] for column in columns))
    return made


def rows(run: RunSpec) -> list[tuple[str, str]]:
    """Name and value of every figure of a resolved run."""
    cost, training, memory = run.cost, run.training_cost, training_memory(run)
    body = run.architecture.non_embedding_params(vocab=run.tokenizer.ids, context=run.context)
    return [
        ("parameters", f"{cost.params:,}"),
        ("  without embeddings and head", f"{body:,}"),
        ("  active for one token", f"{cost.active_params:,}"),
        ("training FLOPs per token", f"{training.flops:.4e}"),
        ("  by the MFU convention", f"{training.flops_mfu:.4e}"),
        ("decoding state per token", f"{cost.state_bytes:,.0f} B"),
        ("training memory", mebibytes(memory.total)),
        ("  weights", mebibytes(memory.weights)),
        ("  gradients", mebibytes(memory.gradients)),
        ("  optimizer", mebibytes(memory.optimizer)),
        ("  activations of a micro-batch", mebibytes(memory.activations)),
    ]
