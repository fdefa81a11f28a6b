"""`task=predict`: what a law that was told before says of other sizes, lengths and amounts of compute."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nanochat.core.errors import spec_error
from nanochat.core.spec import Positive
from nanochat.law.approaches import Told
from nanochat.law.checks import of_target
from nanochat.law.recorded import Record
from nanochat.task.base import StudyTaskSpec
from nanochat.task.record_of import record_of
from nanochat.task.telling import between, number

# The columns of a table, by the input of a form.
NAMES = {"n": "N", "d": "D", "c": "C"}

Numbers = Positive | tuple[Positive, ...] | None


class PredictSpec(StudyTaskSpec):
    """Predict the loss at every combination of the form's inputs, or the best shapes at `flops`, with intervals."""

    law: str | None
    arm: str | None
    n: Numbers
    d: Numbers
    flops: Numbers
    unique: Numbers
    experts: Numbers
    s1: Numbers
    s2: float | tuple[float, ...] | None
    bpb: Numbers

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        record = record_of(config, self.law, arm=self.arm)
        console = Console(highlight=False)
        grid, warnings = self._best(record) if self._wants_best(record) else self._losses(record)
        console.print(record.law.equation)
        console.print(grid)
        for warning in dict.fromkeys(warnings):
            console.print(f"warning: {warning}")
        return 0

    def _wants_best(self, record: Record) -> bool:
        """Whether best shapes are asked for. Raises `SpecError` where inputs of the form are not told."""
        inputs = record.law.inputs
        told = [name for name in inputs if self._values(name)]
        if self.flops is not None and "c" not in inputs:
            if told:
                rule = "asks for the best shape, and sizes are told besides"
                raise spec_error("task.flops", number_of(self.flops), rule, "leave one out")
            return True
        if missing := [name for name in inputs if not self._values(name)]:
            keys = [f"task.{'flops' if name == 'c' else name}" for name in missing]
            best = "; or ask for the best shape by task.flops" if inputs == ("n", "d") else ""
            raise spec_error(keys[0], None, "is needed to predict", f"e.g. {keys[0]}=1e9{best}")
        return False

    def _values(self, name: str) -> tuple[float, ...]:
        """What is told of an input of forms."""
        value = self.flops if name == "c" else getattr(self, name)
        return () if value is None else value if isinstance(value, tuple) else (value,)

    def _losses(self, record: Record) -> tuple[Table, list[str]]:
        inputs = record.law.inputs
        of_both = inputs[:2] == ("n", "d")
        grid = _table([*(NAMES.get(name, name) for name in inputs), *(["C"] if of_both else []), "loss", "95%"])
        warnings = []
        for place in itertools.product(*(self._values(name) for name in inputs)):
            told = record.predict(*place)
            flops = [float(record.compute.per_token(place[0])) * place[1]] if of_both else []
            grid.add_row(*map(number, [*place, *flops]), number(told.value), between(told.low, told.high))
            for name, value in zip(inputs, place, strict=True):
                warnings += _far(record, name, value)
            warnings += _further(record, flops[0]) if of_both else []
        return grid, warnings

    def _best(self, record: Record) -> tuple[Table, list[str]]:
        grid = _table(["C", "N*", "D*", "D*/N*", "loss"])
        warnings = []
        for c in self._values("c"):
            best = record.best(c)
            told = (best.params, best.tokens, best.tokens_per_param, best.loss)
            grid.add_row(number(c), *(number(each.value) for each in told))
            grid.add_row("", *(_ends(each) for each in told))
            warnings += _further(record, c)
        return grid, warnings


def number_of(value: float | tuple[float, ...]) -> str:
    """As it was typed."""
    return f"{value:g}" if isinstance(value, float | int) else f"[{','.join(f'{v:g}' for v in value)}]"


def _further(record: Record, c: float) -> list[str]:
    column = record.column("c")
    return [f"{each.text}; {each.remedy}" for each in of_target(column, at=c)] if len(column) else []


def _far(record: Record, name: str, value: float) -> list[str]:
    """The same for an input: as far beyond the rows as they reach is a guess."""
    column = record.column(name)
    if not len(column) or np.min(column) <= 0:
        return []
    low, high = float(np.min(column)), float(np.max(column))
    if low / (high / low) <= value <= high * (high / low):
        return []
    label = NAMES.get(name, name)
    return [f"{label} = {number(value)} is far from the rows, whose {label} is {between(low, high)}"]


def _ends(told: Told) -> str:
    return f"{number(told.low)}–{number(told.high)}"


def _table(names: Sequence[str]) -> Table:
    grid = Table(box=None, pad_edge=False)
    for name in names:
        grid.add_column(name, justify="right")
    return grid
