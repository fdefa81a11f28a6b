"""What a study minimises, and whether its sampler and pruner can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nanochat.core.errors import spec_error
from nanochat.core.spec import option_of
from nanochat.pruner.base import PrunerSpec
from nanochat.sampler.base import SamplerSpec
from nanochat.study.axes import Arm
from nanochat.study.suggest import distribution

# bpb and loss are read from the valid documents in tuning, from the test documents in confirming runs; the others
# follow from the model. `flops` are a whole run's, `state_bytes` a token's in decoding.
Objective = Literal["bpb", "loss", "params", "active_params", "flops", "state_bytes"]


def check_objectives(objectives: Sequence[str], *, sampler: SamplerSpec, pruner: PrunerSpec) -> None:
    """Refuse objectives that are listed twice, and what cannot serve several of them."""
    if len(set(objectives)) != len(objectives):
        raise spec_error("study.objectives", list(objectives), "lists an objective twice")
    if len(objectives) == 1:
        return
    if not sampler.several:
        name = option_of(sampler)
        raise spec_error("sampler", name, f"minimises one objective, not {len(objectives)}", "use sampler=nsga2 or tpe")
    if option_of(pruner) != "none":
        rule = f"compares curves of one objective, not {len(objectives)}"
        raise spec_error("pruner", option_of(pruner), rule, "use pruner=none")


def tuning_trials(arm: Arm, *, sampler: SamplerSpec, trials: int) -> int:
    """How many tuning trials an arm gets: `trials`, or all that its sampler has to offer."""
    if not arm.axes:
        return 0
    most = sampler.most({axis.key: distribution(axis) for axis in arm.axes})
    return trials if most is None else min(most, trials)


def check_searches(arms: Sequence[Arm], *, sampler: SamplerSpec, trials: int) -> None:
    """Refuse a space that the sampler cannot search, or not in so many trials."""
    for arm in arms:
        if not arm.axes:
            continue
        space = {axis.key: distribution(axis) for axis in arm.axes}
        sampler.check(space, conditional=any(axis.when for axis in arm.axes))
        most = sampler.most(space)
        if most is not None and most > trials:
            rule = f"arm '{arm.name}' has {most} points to try"
            raise spec_error("study.trials", trials, rule, f"use study.trials={most}, or a smaller grid")
