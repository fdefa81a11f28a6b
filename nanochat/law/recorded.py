"""A record of a law read again: its law and those of runs drawn again, to predict from with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanochat.core.errors import alternatives, spec_error
from nanochat.law.approaches import Told
from nanochat.law.bands import shapes, told
from nanochat.law.compute import Compute
from nanochat.law.form import Law
from nanochat.law.forms import FORMS, of_shape
from nanochat.law.record import SCHEMA


@dataclass(frozen=True)
class BestTold:
    """What an amount of compute buys, with intervals."""

    params: Told
    tokens: Told
    tokens_per_param: Told
    loss: Told


@dataclass(frozen=True)
class Record:
    """law, laws: the fit, and those to runs drawn again · compute: what a token costs · told: numbers with intervals ·
    at: the FLOPs it was asked for, None for a form without compute · data: all of it, as it stands in the file."""

    law: Law
    laws: tuple[Law, ...]
    compute: Compute
    told: Mapping[str, Told]
    at: float | None
    data: Mapping[str, Any]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Record:
        """Raises KeyError, TypeError or ValueError for what is no record."""
        form = next(form for form in FORMS.values() if form.title == data["form"]["title"])
        if list(form.names()) != list(data["form"]["parameters"]):
            raise ValueError(f"the numbers of {form.title} are {', '.join(form.names())}")
        law = form(**{name: _finite(data["law"][name]) for name in form.names()})
        laws = tuple(form(*map(_finite, values)) for values in data["laws"])
        fields = data["compute"]
        coefficients = tuple(map(_finite, fields["coefficients"]))
        cost = Compute(coefficients, **{k: _finite(fields[k]) for k in ("about", "low", "high", "residual")})
        numbers = {
            name: Told(*(_number(each[k]) for k in ("value", "low", "high"))) for name, each in data["told"].items()
        }
        at = None if data["at"] is None else _finite(data["at"])
        if not laws:
            raise ValueError("it has no laws of runs drawn again")
        return cls(law, laws, cost, numbers, at, data)

    def predict(self, *inputs: float) -> Told:
        """The loss at the form's inputs, in their order: (n, d) for most. The interval is the law's, not one run's."""
        drawn = [float(law.loss(*inputs)) for law in self.laws]
        return told(float(self.law.loss(*inputs)), drawn)

    def best(self, c: float) -> BestTold:
        """N*, D* and the loss at `c` FLOPs. Raises `SpecError` for a form without parameters and tokens, and for a law
        that has no best size there."""
        if not of_shape(type(self.law)):
            raise spec_error(
                "task.flops", f"{c:.3g}", f"the form {self.law.title} has no best shape", "name its inputs"
            )
        found = shapes([self.law, *self.laws], self.compute, np.array([c]))
        if not found.whole[0]:
            raise spec_error("task.flops", f"{c:.3g}", "the law has no best size there", "ask for less")
        params, tokens, loss = (table[:, 0] for table in (found.params, found.tokens, found.loss))
        return BestTold(*(told(float(x[0]), x[1:]) for x in (params, tokens, tokens / params, loss)))

    def column(self, name: str) -> np.ndarray:
        """A column of the rows that it was fitted to; empty where they have no such number."""
        return np.array([row[name] for row in self.data["rows"] if row.get(name) is not None], dtype=float)


def read(path: Path, *, key: str = "task.law") -> Record:
    """The one record in a file. Raises `SpecError` about `key` for a file with none, or with those of several arms."""
    found = read_all(path, key=key)
    if len(found) > 1:
        raise spec_error(key, str(path), f"has a law for each of {len(found)} arms", "choose one with task.arm")
    return next(iter(found.values()))


def read_all(path: Path, *, key: str = "task.law") -> dict[str, Record]:
    """The records in a file by arm; "" for the only one of a file without arms.

    Raises `SpecError` about `key` for a file that is not there, broken, or of another schema.
    """
    data = load(path, key=key)
    arms = data.get("arms", {"": data})
    try:
        found = {str(name): Record.of(record) for name, record in arms.items()}
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error) or "its form is not known"
        raise spec_error(key, str(path), f"is no whole record of a law: {what}", _AGAIN) from None
    if not found:
        raise spec_error(key, str(path), "has no arm yet", "wait until the study has a law")
    return found


_AGAIN = "write it again with task=law"


def load(path: Path, *, key: str = "task.law") -> Mapping[str, Any]:
    """The plain data of a file of this schema, of one law or of a study's arms."""
    if not path.is_file():
        raise spec_error(key, str(path), "no such file", "task=law writes one")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise spec_error(key, str(path), f"is no JSON ({error})", _AGAIN) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        rule = f"has schema {schema}, and this version reads {SCHEMA}" if schema else "is no record of a law"
        raise spec_error(key, str(path), rule, _AGAIN)
    return data


def chosen(found: Mapping[str, Record], arm: str | None) -> Record:
    """The record of an arm, or the only one. Raises `SpecError` about task.arm."""
    if arm is None and len(found) == 1:
        return next(iter(found.values()))
    if arm is None or arm not in found:
        rule = "there is no such arm" if arm else "there are several arms"
        raise spec_error("task.arm", arm, rule, f"try {alternatives(name or 'null' for name in found)}")
    return found[arm]


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _number(value: Any) -> float:
    """nan for null."""
    return math.nan if value is None else _finite(value)
