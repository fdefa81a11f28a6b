"""`task=allocate`: what to train for a compute or by a deadline, by a law that was told before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from nanochat.core.compose import parse_overrides
from nanochat.core.errors import spec_error
from nanochat.core.spec import Positive
from nanochat.law.approaches import Told
from nanochat.law.checks import of_target
from nanochat.law.recorded import load
from nanochat.run.spec import Settings, settings
from nanochat.study.axes import decides_runs, merge, typed_key
from nanochat.study.definition import FILE, read_definition
from nanochat.study.scaling import FLOPS_OF_HOUR
from nanochat.study.sizes import SHAPE
from nanochat.task.allocation import Allocation, Question, command, rates_of
from nanochat.task.base import StudyTaskSpec
from nanochat.task.deadline import HOUR, flops_within
from nanochat.task.record_of import record_file, record_of
from nanochat.task.telling import between, number

# A deadline's compute follows from the shape's pace, and the shape from the compute: so many times, at most.
ROUNDS = 4

# With fewer steps than this the loss is not what a law of whole runs says.
FEW_STEPS = 100


class AllocateSpec(StudyTaskSpec):
    """Choose parameters, tokens, shape, learning rate and batch for `flops` or `hours`; print the command."""

    law: str | None
    arm: str | None
    flops: Positive | None
    hours: Positive | None
    flops_per_second: Positive | None
    inference_tokens: Positive | None
    counted: Literal["total", "body"]

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        self._check()
        record = record_of(config, self.law, arm=self.arm)
        file = record_file(config, self.law)
        question = Question(
            record,
            words=tuple(merge(self._words_of_study(config), _own(words))),
            counted=self.counted,
            inference=self.inference_tokens,
            rates=rates_of(load(file), self.arm),
            exact=self.hours is not None,
        )
        c = self.flops or self._flops_of_hours(question, settings(config))
        found = question.allocate(c)
        console = Console(highlight=False)
        console.print(_told(found, c, counted=self.counted))
        for warning in _warnings(found, question, c):
            console.print(f"warning: {warning}")
        kept = [word for word in words if typed_key(word).startswith("paths.")]
        console.print(command([*found.words, *kept]), soft_wrap=True)
        return 0

    def _check(self) -> None:
        if (self.flops is None) == (self.hours is None):
            found = "both are given" if self.flops else "neither is given"
            rule = f"exactly one of task.flops and task.hours says what there is to spend; {found}"
            raise spec_error("task.flops", self.flops, rule, "e.g. task.flops=1e15")
        if self.flops_per_second is not None and self.hours is None:
            raise spec_error("task.flops_per_second", self.flops_per_second, "goes with task.hours", "leave it out")
        if self.inference_tokens is not None and self.hours is not None:
            rule = "asks for the loss that task.flops buys, at whatever length of training: no deadline can hold it"
            raise spec_error("task.inference_tokens", f"{self.inference_tokens:.3g}", rule, "use task.flops")

    def _words_of_study(self, config: Mapping[str, Any]) -> list[str]:
        """What made the runs of the arm that the law is of, without their sizes; nothing for a law from a file."""
        folder = record_file(config, self.law).parent
        if self.law is not None or not (folder / FILE).exists():
            return []
        stored = read_definition(folder)
        own = next((arm for arm in stored.arms if self.arm is None or arm.alone == self.arm), stored.arms[0])
        fixed = [override.text for override in parse_overrides(stored.command) if override.sweep is None]
        shape = set(SHAPE[1:]) if any(typed_key(text) in SHAPE[1:] for text in own.overrides) else set(SHAPE)
        kept = [text for text in merge(fixed, own.overrides) if typed_key(text) not in shape]
        return [text for text in kept if decides_runs(text)]

    def _flops_of_hours(self, question: Question, how: Settings) -> float:
        """What the deadline pays for; without a known pace, that of the very run, timed."""
        assert self.hours is not None
        if self.flops_per_second is not None:
            return self.hours * HOUR * self.flops_per_second
        device = question.config().resolve().trainer.device
        c = self.hours * FLOPS_OF_HOUR["cuda" if device == "cuda" else "cpu"]
        tried = ""
        for _ in range(ROUNDS):
            run = question.allocate(c).run
            shape = f"{run.model.dim} {run.model.depth} {run.batch.tokens}"
            if shape == tried:
                break
            tried, c = shape, flops_within(run, self.hours, settings=how)
        return c


def _own(words: Sequence[str]) -> list[str]:
    """The words that decide a run, without sweeps."""
    fixed = [override.text for override in parse_overrides(words) if override.sweep is None]
    return [text for text in fixed if decides_runs(text)]


def _warnings(found: Allocation, question: Question, c: float) -> list[str]:
    told = [f"{each.text}; {each.remedy}" for each in of_target(question.record.column("c"), at=c)]
    if found.run.steps < FEW_STEPS:
        told.append(f"it has {found.run.steps} steps; set a smaller batch.tokens")
    optimizer = type(found.run.optimizer).__name__.removesuffix("Spec")
    if question.rates is None and optimizer != "AdamW":
        told.append(f"the published learning rate is of AdamW, and this is {optimizer}; set lr.peak")
    return told


def _told(found: Allocation, c: float, *, counted: str) -> Table:
    run, best = found.run, found.best
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column()
    grid.add_column()
    grid.add_row("law at", f"{number(c)} FLOPs")
    grid.add_row("  N*", _with_ends(best.params))
    grid.add_row("  D*", _with_ends(best.tokens))
    grid.add_row("  loss there", _with_ends(best.loss))
    if found.life is not None:
        grid.add_row("with inference", f"{number(found.life.params)} parameters on {number(found.life.tokens)} tokens")
        grid.add_row(
            "  FLOPs of both", f"{number(found.life.training + found.life.inference)}, {found.life.saved:.1%} less"
        )
    kind = "parameters" if counted == "total" else "parameters of blocks"
    grid.add_row("shape", f"{run.model.dim} wide, {run.model.depth} deep")
    grid.add_row(f"  {kind}", f"{found.params:,}")
    grid.add_row("  training tokens", f"{run.tokens:,} in {run.steps:,} steps of {run.batch.tokens:,}")
    grid.add_row("  training FLOPs", f"{number(found.run.flops)}, counted exactly")
    grid.add_row("  loss", _with_ends(found.loss))
    grid.add_row("learning rate", f"{run.lr.peak:.4g}")
    grid.add_row("rate and batch", found.rate)
    return grid


def _with_ends(told: Told) -> str:
    return f"{number(told.value)} ({between(told.low, told.high)})"
