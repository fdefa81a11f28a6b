"""Suggestions as a pure function of what was known at the time.

Trial n of an arm is suggested from the results of trials up to n - lag alone; those in between stand as running,
with their parameters. So it does not matter in which order trials finished, or how often the study was killed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from nanochat.core.compose import Choice
from nanochat.core.spec import hash_of
from nanochat.study.axes import Axis

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Past:
    """An earlier trial: its parameters, whether it is finished, and its score (None: it failed)."""

    params: Params
    finished: bool
    value: float | None


def suggest(
    n: int,
    *,
    arm: str,
    axes: Sequence[Axis],
    history: Sequence[Past],
    seed: int,
    lag: int,
    first: Params,
) -> dict[str, Any]:
    """The parameters of trial `n`, by key. `history` holds trials 0 … n-1; those up to n - lag are finished.

    Trial 0 takes `first`, the config's own values, on the axes for which it has one; the sampler fills the rest.
    Lower values are better.
    """
    assert len(history) == n, f"trial {n} follows {len(history)} others"
    quiet_optuna()
    sampler = optuna.samplers.TPESampler(seed=int(hash_of([seed, arm, n], length=8), 16))
    study = optuna.create_study(sampler=sampler)
    distributions = {axis.key: distribution(axis) for axis in axes}
    study.add_trials([_past(trial, distributions, seen=i <= n - lag) for i, trial in enumerate(history)])
    if n == 0 and first:
        study.enqueue_trial(dict(first))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(study.ask(distributions).params)


def quiet_optuna() -> None:
    """Optuna's news of every trial would only bury a study's own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def distribution(axis: Axis) -> BaseDistribution:
    """Optuna's form of an axis."""
    domain = axis.domain
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.texts)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _past(trial: Past, distributions: Mapping[str, BaseDistribution], *, seen: bool) -> optuna.trial.FrozenTrial:
    assert trial.finished or not seen, "a suggestion was asked for before its time"
    state = TrialState.RUNNING
    if seen:
        state = TrialState.FAIL if trial.value is None else TrialState.COMPLETE
    return create_trial(
        state=state,
        value=trial.value if state == TrialState.COMPLETE else None,
        params=dict(trial.params),
        distributions=dict(distributions),
    )
