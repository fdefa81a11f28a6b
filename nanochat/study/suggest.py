"""Suggestions and prunings as pure functions of what was known at the time.

Trial n of an arm is suggested from the results of trials up to n - lag alone; those in between stand as running,
with their parameters. Whether it is pruned follows from its own reports and from the same trials. So it does not
matter in which order trials finished, which worker asked, or how often the study was killed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nanochat.core.compose import Choice
from nanochat.sampler.base import SamplerSpec, seed_of
from nanochat.study.axes import Axis

Params = Mapping[str, Any]
Reports = Sequence[tuple[int, float]]

# Optuna's names of what successive halving notes on a trial.
RUNG = "completed_rung_"


@dataclass(frozen=True)
class Past:
    """An earlier trial.

    values: its objectives, lower is better, once it is complete; None before, and where it failed · pruned: it was
    given up · reports: tokens and bits per byte of its validations, up to the one it was given up at · rungs: what
    the pruner noted on it.
    """

    params: Params
    finished: bool
    values: tuple[float, ...] | None
    pruned: bool = False
    reports: Reports = ()
    rungs: Mapping[str, float] | None = None

    @property
    def state(self) -> TrialState:
        if not self.finished:
            return TrialState.RUNNING
        if self.pruned:
            return TrialState.PRUNED
        return TrialState.FAIL if self.values is None else TrialState.COMPLETE


class Suggestions:
    """One arm's past as its sampler and pruner see it, kept in memory and moved on trial by trial."""

    def __init__(
        self,
        *,
        arm: str,
        axes: Sequence[Axis],
        sampler: SamplerSpec,
        pruner: BasePruner | None = None,
        seed: int,
        lag: int,
        first: Params,
        objectives: int = 1,
        imported: Sequence[Past] = (),
    ) -> None:
        """`first`: the config's own values, with which trial 0 begins · `imported`: finished trials from before."""
        quiet_optuna()
        self.axes = axes
        self.space = {axis.key: distribution(axis) for axis in axes}
        self.sampler = sampler
        self.pruner = pruner
        self.seed = seed_of(seed, arm)
        self.lag = lag
        self.first = {} if sampler.fixed else first
        self.storage = _Windowed()
        self.study = optuna.create_study(
            storage=self.storage, study_name=f"{seed} {arm}", directions=[StudyDirection.MINIMIZE] * objectives
        )
        self.ids: list[int] = []  # of trials 0, 1, … in memory
        self.settled = 0  # how many of them are finished there
        for trial in imported:
            self._settle(self._add(trial), trial)

    def ready(self, past: Sequence[Past], n: int) -> bool:
        """Whether all that suggestion `n` depends on is finished."""
        return all(trial.finished for trial in past[self.settled : max(0, n - self.lag + 1)])

    def suggest(self, past: Sequence[Past], n: int) -> dict[str, Any]:
        """The parameters of trial `n`, by key. `past` holds trials 0 … n-1; those up to n - lag are finished."""
        assert len(past) >= n, f"trial {n} follows {len(past)} others"
        self._reach(past, n)
        if len(self.ids) == n:
            self.ids.append(self._ask(n))
        return dict(self.storage.get_trial(self.ids[n]).params)

    def judge(self, past: Sequence[Past], n: int, reports: Reports) -> int | None:
        """The tokens at which trial `n` is given up, None as long as it is not. `past` holds trial `n` too."""
        if self.pruner is None:
            return None
        self._reach(past, n)
        if len(self.ids) == n:
            self._append(past[n])
        known = self.storage.get_trial(self.ids[n]).intermediate_values
        for tokens, value in reports:
            if tokens not in known:
                self.storage.set_trial_intermediate_value(self.ids[n], tokens, value)
                if self._prune(n):
                    return tokens
        return None

    def rungs(self, n: int) -> dict[str, float]:
        """What the pruner noted on trial `n`."""
        if len(self.ids) <= n:
            return {}
        noted = self.storage.get_trial(self.ids[n]).system_attrs
        return {key: value for key, value in noted.items() if key.startswith(RUNG)}

    def _reach(self, past: Sequence[Past], n: int) -> None:
        """Bring the memory to where it was before suggestion `n`, every earlier one in its turn."""
        while len(self.ids) < n:
            self._settle_until(past, len(self.ids) - self.lag)
            self._append(past[len(self.ids)])
        self._settle_until(past, n - self.lag)

    def _settle_until(self, past: Sequence[Past], last: int) -> None:
        while self.settled <= last:
            trial = past[self.settled]
            assert trial.finished, "a suggestion was asked for before its time"
            self._settle(self.ids[self.settled], trial)
            self.settled += 1

    def _append(self, trial: Past) -> None:
        """A trial that somebody suggested. A sampler that keeps notes is asked again, and notes the same."""
        if self.sampler.replays:
            asked = self._ask(len(self.ids))
            if self.storage.get_trial(asked).params == dict(trial.params):
                self.ids.append(asked)
                return
            self.storage.set_trial_state_values(asked, TrialState.FAIL)
        self.ids.append(self._add(trial))

    def _add(self, trial: Past) -> int:
        params = dict(trial.params)
        space = {key: self.space[key] for key in params}
        frozen = create_trial(state=TrialState.RUNNING, params=params, distributions=space)
        return self.storage.create_new_trial(self.study._study_id, template_trial=frozen)

    def _settle(self, place: int, trial: Past) -> None:
        for tokens, value in trial.reports:
            self.storage.set_trial_intermediate_value(place, tokens, value)
        for key, value in (trial.rungs or {}).items():
            self.storage.set_trial_system_attr(place, key, value)
        values = [trial.reports[-1][1]] if trial.pruned else trial.values
        self.storage.set_trial_state_values(place, trial.state, values)

    def _ask(self, n: int) -> int:
        """Let the sampler suggest trial `n`, axis by axis: some exist only where another took a certain value."""
        self.study.sampler = self.sampler.build(space=self.space, seed=self.seed, number=n)
        if n == 0 and self.first:
            self.study.enqueue_trial(dict(self.first))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self.study.ask()
            for axis in self.axes:
                if axis.active(trial.params):
                    trial._suggest(axis.key, self.space[axis.key])
        return trial._trial_id

    def _prune(self, n: int) -> bool:
        assert self.pruner is not None
        self.storage.window = (self._number(n - self.lag), self._number(n))
        try:
            return bool(self.pruner.prune(self.study, self.storage.get_trial(self.ids[n])))
        finally:
            self.storage.window = None

    def _number(self, n: int) -> int:
        """Optuna's number of trial `n` in memory; of the last imported one where `n` is negative."""
        if n >= 0:
            return self.storage.get_trial(self.ids[n]).number
        return self.storage.get_trial(self.ids[0]).number - 1


class _Windowed(InMemoryStorage):
    """A storage that can show a pruner what one trial may see: `(number of the last trial seen, its own)`."""

    window: tuple[int, int] | None = None

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        found = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        if self.window is None:
            return found
        last, own = self.window
        return [trial for trial in found if trial.number <= last or trial.number == own]


def quiet_optuna() -> None:
    """Optuna's news of every trial would only bury a study's own; what it calls experimental is pinned by version."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def distribution(axis: Axis) -> BaseDistribution:
    """Optuna's form of an axis."""
    domain = axis.domain
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.texts)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
