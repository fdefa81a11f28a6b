"""Training on one batch, again and again, with the run's own optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nanochat.run.spec import RunSpec
from nanochat.trainer.module import Batch, LanguageModel

STEPS = 40
"""Steps on one batch, at the rates that the schedule has at that share of the run."""
LEAST = 5
"""Steps that are taken even where the loss falls sooner: gradients reach past a head that starts at zero in the
second, and a chosen expert when it is first chosen."""
CLEAR = 0.5
"""The share of its first loss (of ln(vocabulary), where it starts higher) that a model must lose on one batch, which
is more than the tokens' frequencies alone give."""


@dataclass
class Attempt:
    """ignorance: ln(vocabulary) · losses: before every step, and after the last · reached, broken, silent: names of
    parameters that got a gradient, one that is no number, and none in any step.
    """

    ignorance: float
    losses: list[float] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    @property
    def learned(self) -> bool:
        return self.losses[-1] <= (1 - CLEAR) * min(self.losses[0], self.ignorance)

    @property
    def moved(self) -> float:
        return self.losses[0] - self.losses[-1]

    @property
    def steps(self) -> int:
        return len(self.losses) - 1


def attempt(spec: RunSpec, module: LanguageModel, batch: Batch, *, factor: float) -> Attempt:
    """Train `module` on the batch at `factor` times the run's rates, until it has clearly learned it."""
    optimizer = module.configure_optimizers()
    tried = Attempt(math.log(spec.tokenizer.ids))
    for step in range(STEPS):
        place = min(spec.steps - 1, int((step + 0.5) * spec.steps / STEPS))
        rate = factor * spec.lr.rate(place, steps=spec.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * spec.lr.factors.of(group["role"]) * group["factor"]
        optimizer.zero_grad(set_to_none=True)
        tried.losses.append(module.accumulate(batch)["train_loss"])
        note_gradients(module, tried)
        module.clip()
        if tried.broken or not math.isfinite(tried.losses[-1]) or (step >= LEAST and tried.learned):
            break
        optimizer.step()
        module.model.after_step()
        if module.extra is not None:
            module.extra.after_step()
    else:
        tried.losses.append(module.accumulate(batch)["train_loss"])
    tried.silent = {name for name, p in module.trained.named_parameters() if p.requires_grad} - tried.reached
    return tried


def note_gradients(module: LanguageModel, tried: Attempt) -> None:
    """Which parameters have one."""
    for name, parameter in module.trained.named_parameters():
        if parameter.grad is not None:
            if not parameter.grad.isfinite().all():
                tried.broken.add(name)
            elif parameter.grad.any():
                tried.reached.add(name)
