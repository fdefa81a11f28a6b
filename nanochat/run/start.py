"""Where a run begins: from scratch, or from another run, so that one trunk serves runs of many lengths.

While its rate is constant, a run with warm-up, stable, decay does not know how long it will be. A longer one goes on
from there, and costs what it has more, instead of all (Hägele et al., 2405.18392, section 4).
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from nanochat.core.errors import alternatives, spec_error
from nanochat.core.spec import Count, Spec

Key = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class StartSpec(Spec):
    """run: key of the run that this one continues · tokens: training tokens of it after which. Null: from scratch."""

    run: Key | None
    tokens: Count | None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.run is None) != (self.tokens is None):
            given, missing = ("run", "tokens") if self.tokens is None else ("tokens", "run")
            rule = f"is given without start.{missing}"
            raise spec_error(given, getattr(self, given), rule, f"add start.{missing}=…, or set start.{given}=null")
        return self

    def check(self, *, batch_tokens: int, steps: int, decay: int | None) -> None:
        """Raises `SpecError` where a run of `steps`, whose rate decays from step `decay` on, cannot begin there."""
        if self.tokens is None:
            return
        if self.tokens % batch_tokens:
            below = self.tokens // batch_tokens * batch_tokens
            near = alternatives([n for n in (below, below + batch_tokens) if n])
            raise spec_error("tokens", self.tokens, f"must be a multiple of batch.tokens={batch_tokens}", f"try {near}")
        if self.tokens >= steps * batch_tokens:
            rule = f"must be less than the whole run's {steps * batch_tokens}, which are counted from scratch"
            raise spec_error("tokens", self.tokens, rule, "let it stop later")
        if decay is not None and self.tokens > decay * batch_tokens:
            rule = f"is in the decay of this run's own rate, which begins after {decay * batch_tokens} tokens"
            raise spec_error("tokens", self.tokens, rule, "start there or before, let it stop later, or lower lr.decay")
