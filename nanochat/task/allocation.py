"""From what a law answers to a run that can be typed: shape, tokens, learning rate and batch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanochat.core.compose import compose
from nanochat.core.errors import spec_error
from nanochat.law.approaches import Told
from nanochat.law.compute import SIX
from nanochat.law.lifetime import Lifetime, lifetime, reaching
from nanochat.law.published import SOURCE, batch_tokens, learning_rate
from nanochat.law.recorded import BestTold, Record
from nanochat.run.spec import RunSpec, run_spec
from nanochat.study.axes import merge, typed_key
from nanochat.study.rates import RateLaw, Tried
from nanochat.study.sizes import SHAPE
from nanochat.task.shaped import Counted, params_of, shaped

# What an allocation chooses: whoever types one of the last two has chosen it.
CHOSEN = (*SHAPE[1:], "stop.tokens", "stop.steps")
OPEN = ("lr.peak", "batch.tokens")


@dataclass(frozen=True)
class Allocation:
    """best: what the law answers · life: with inference counted, or None · run: resolved · params: of its shape, as the
    law counts them · loss: predicted of it · rate: where learning rate and batch are from · words: the overrides that
    make it."""

    best: BestTold
    life: Lifetime | None
    run: RunSpec
    params: int
    loss: Told
    rate: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """record: the law · words: overrides of the config · counted: what its N is · inference: tokens, or None · rates:
    the study's fitted law of rates · exact: whether FLOPs are counted exactly though the law's are 6ND."""

    record: Record
    words: tuple[str, ...]
    counted: Counted
    inference: float | None
    rates: RateLaw | None
    exact: bool = False

    def config(self) -> RunSpec:
        """The run of the config, its size still open."""
        return run_spec(compose(self.words))

    def allocate(self, c: float) -> Allocation:
        """The run that `c` FLOPs are best spent on. Raises `SpecError` where there is none."""
        record, best = self.record, self.record.best(c)
        life = lifetime(record.law, record.compute, c, tokens=self.inference) if self.inference else None
        shape = shaped(self.config(), life.params if life else best.params.value, counted=self.counted)
        params = params_of(shape, self.counted)
        tokens = self._tokens(shape, params, c, life)
        spent = tokens * shape.training_cost.flops
        overrides, rate = self._rate(shape, spent)
        words = merge(
            [word for word in self.words if typed_key(word) not in CHOSEN],
            [f"model.dim={shape.model.dim}", f"model.depth={shape.model.depth}"],
            overrides,
        )
        batch = run_spec(compose(words)).batch.tokens
        steps = int(tokens / batch)
        if steps < 1:
            rule = f"pays for {tokens:.3g} tokens of such a model, less than one step of {batch:,}"
            raise spec_error("task.flops", f"{c:.3g}", rule, "raise it, or set a smaller batch.tokens")
        words = [*words, f"stop.tokens={steps * batch}", *self._no_steps()]
        run = run_spec(compose(words)).resolve()
        return Allocation(best, life, run, params, record.predict(params, run.tokens), rate, tuple(words))

    def _tokens(self, shape: RunSpec, params: int, c: float, life: Lifetime | None) -> float:
        """What is left of the compute for a shape; with inference, what it takes to reach the loss."""
        if life is not None:
            tokens = float(reaching(self.record.law, np.array([float(params)]), life.loss)[0])
            if tokens == float("inf"):
                rule = f"no number of tokens takes {params:,} parameters to a loss of {life.loss:.4g}"
                raise spec_error("task.inference_tokens", f"{self.inference:.3g}", rule, "ask for fewer")
            return tokens
        exact = self.exact or self.record.compute != SIX
        return c / (shape.training_cost.flops if exact else 6 * params)

    def _rate(self, shape: RunSpec, spent: float) -> tuple[list[str], str]:
        """Overrides of learning rate and batch, and where they are from."""
        typed = {typed_key(word) for word in self.words}
        if self.rates is not None:
            found, source = {"lr.peak": self.rates.rate(shape.cost.params)}, "the study's law of rates, at its batch"
        else:
            size = max(1, round(batch_tokens(spent) / shape.context)) * shape.context
            found = {"lr.peak": float(f"{learning_rate(spent):.3g}"), "batch.tokens": size}
            source = f"published ({SOURCE}), not tried here"
        own = [key for key in OPEN if key in typed and key in found]
        texts = [f"{key}={value}" for key, value in found.items() if key not in own]
        return texts, source + (f"; {', '.join(own)} as typed" if own else "")

    def _no_steps(self) -> list[str]:
        """A config may end by steps."""
        kept = [word for word in self.words if typed_key(word) not in CHOSEN]
        return ["stop.steps=null"] if compose(kept)["stop"]["steps"] is not None else []


def rates_of(data: Mapping[str, Any], arm: str | None) -> RateLaw | None:
    """The law of rates of an arm in a study's record, None where it has none. Raises `SpecError` for a broken one."""
    found = data.get("rates") or {}
    law = found.get(arm) if arm is not None else next(iter(found.values()), None)
    if law is None:
        return None
    try:
        return RateLaw(**{**law, "tried": tuple(Tried(**one) for one in law.get("tried", ()))})
    except (TypeError, AttributeError):
        raise spec_error("task.law", None, "its law of rates is not whole", "write it again") from None


def command(words: Sequence[str]) -> str:
    """What to type."""
    return shlex.join(["python", "run.py", *words])
