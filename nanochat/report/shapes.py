"""What to train at the target of a scaling study: a shape, its rate, its tokens, the loss to expect, the command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nanochat.core.compose import parse_overrides
from nanochat.law.recorded import Record
from nanochat.study.answer import shape_for
from nanochat.study.axes import decides_runs, merge, typed_key
from nanochat.study.definition import Definition
from nanochat.study.design import families
from nanochat.study.rates import RateLaw
from nanochat.study.sizes import SHAPE


def answer(definition: Definition, name: str, law: Record, *, rates: RateLaw | None, target: float) -> dict[str, Any]:
    """Plain data. The shape is one that can be trained, so its parameters are only near N*; loss and interval are the
    law's at that shape."""
    design = definition.design
    assert design is not None, "a scaling study"
    shape = shape_for(definition, name, law.best(target).params.value)
    tokens = max(1, round(target / shape.flops / design.batch)) * design.batch
    rate = rates.rate(shape.params) if rates else None
    return {
        "overrides": list(shape.overrides),
        "params": shape.params,
        "tokens": tokens,
        "tokens_per_param": tokens / shape.params,
        "flops": tokens * shape.flops,
        "rate": rate,
        "loss": asdict(law.predict(shape.params, tokens)),
        "command": command(definition, name, shape.overrides, rate=rate, tokens=tokens),
    }


def command(definition: Definition, name: str, overrides: Sequence[str], *, rate: float | None, tokens: int) -> str:
    """The command that trains a shape of an arm, as the study would have."""
    fixed = [o.text for o in parse_overrides(definition.command) if o.sweep is None]
    base = [text for text in fixed if decides_runs(text) and typed_key(text) != "seed"]
    arm = definition.arm(families(definition.design)[name][-1].arm)  # pyright: ignore[reportArgumentType]
    own = [text for text in arm.overrides if typed_key(text) not in SHAPE]
    chosen = [f"stop.tokens={tokens}", *([f"lr.peak={rate!r}"] if rate else [])]
    return shlex.join(["python", "run.py", *merge(base, own, overrides, chosen)])
