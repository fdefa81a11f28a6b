"""A study's memory: which trials there are, whose they are, how they ended. The only code that writes the journal.

`journal.log` is Optuna's: one Optuna study for each arm that is tuned, one named `seeds` for the confirming runs.
A trial comes into being when it is claimed, in one line of the journal with its parameters and its owner, so that
no crash can leave half of one. Every write happens under the study's lock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nanochat.study.axes import CONFIRMING, Arm
from nanochat.study.definition import Definition
from nanochat.study.journal import Journal
from nanochat.study.lease import Leases
from nanochat.study.suggest import Past, distribution, quiet_optuna, suggest

Result = Mapping[str, Any]

# A child that dies without a result may have met with an accident; one that always does, has not.
MOST_LOST = 3

SKIPPED = {"status": "skipped", "reason": "every tuning trial of this arm failed"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One use of a run. `number` counts within the phase: tuning trials of an arm, or its seeds in order.

    `result` is None until the trial is finished; `score` is what it was judged by, None if it failed.
    """

    id: int
    phase: Literal["tune", "seed"]
    arm: str
    number: int
    seed: int
    params: dict[str, Any]
    owner: str
    lost: int
    result: Result | None
    score: float | None

    @property
    def label(self) -> str:
        """`mla tune 3` or `mla seed 2`."""
        return f"{self.arm} {self.phase} {self.number if self.phase == 'tune' else self.seed}"

    @property
    def finished(self) -> bool:
        return self.result is not None


class Store:
    """The trials of a study, shared by all its workers. Methods that write take the study's lock."""

    def __init__(self, folder: Path, definition: Definition, *, leases: Leases) -> None:
        quiet_optuna()
        self.definition = definition
        self.leases = leases
        self.journal = Journal(folder)
        with self.journal.exclusive():
            self.storage = self.journal.open()
            known = {study.study_name: study._study_id for study in self.storage.get_all_studies()}
            names = [CONFIRMING, *(arm.name for arm in definition.arms if arm.axes)]
            self.ids = {
                name: known[name]
                if name in known
                else self.storage.create_new_study([StudyDirection.MINIMIZE], study_name=name)
                for name in names
            }

    def grow(self, trials: int) -> None:
        """Raise the budget to `trials` tuning trials for each arm; a study never shrinks."""
        with self.journal.exclusive():
            if trials > self.budget():
                self.storage.set_study_user_attr(self.ids[CONFIRMING], "trials", trials)

    def budget(self) -> int:
        """Tuning trials of each arm that has something to tune."""
        return self.storage.get_study_user_attrs(self.ids[CONFIRMING]).get("trials", 0)

    def claim(self) -> Trial | None:
        """Take over the next trial whose dependencies are met; None if there is none now.

        Trials whose owner is dead, or handed them back, come first: they keep number and parameters.
        """
        with self.journal.exclusive():
            for trial in self.trials():
                if not trial.finished and not self.leases.alive(trial.owner):
                    self.storage.set_trial_user_attr(trial.id, "owner", self.leases.owner)
                    return trial
            return self._claim_tuning() or self._claim_confirming()

    def tell(self, trial: Trial, result: Result, *, score: float | None) -> bool:
        """Record how a trial ended. False, and nothing recorded, if it is not this worker's any more."""
        with self.journal.exclusive():
            stored = self.storage.get_trial(trial.id)
            if stored.state.is_finished() or stored.user_attrs["owner"] != self.leases.owner:
                return False
            self.storage.set_trial_user_attr(trial.id, "result", dict(result))
            if score is None or not math.isfinite(score):
                self.storage.set_trial_state_values(trial.id, TrialState.FAIL)
            else:
                self.storage.set_trial_state_values(trial.id, TrialState.COMPLETE, [score])
            return True

    def release(self, trial: Trial, *, lost: int = 0) -> None:
        """Hand a trial back, to be claimed again; `lost`: how many times in a row its process has died by now."""
        with self.journal.exclusive():
            stored = self.storage.get_trial(trial.id)
            if stored.user_attrs["owner"] == self.leases.owner:
                if lost != stored.user_attrs["lost"]:
                    self.storage.set_trial_user_attr(trial.id, "lost", lost)
                self.storage.set_trial_user_attr(trial.id, "owner", "")

    def trials(self) -> list[Trial]:
        """Every trial that counts, in the order of the table: arm by arm, tuning before seeds.

        Confirming runs of a best that a larger budget has overtaken do not count.
        """
        found: list[Trial] = []
        confirming = self._read(CONFIRMING)
        for arm in self.definition.arms:
            found += self.tuning(arm)
            current = {
                t.user_attrs["seed"]: t
                for t in confirming
                if t.user_attrs["arm"] == arm.name and t.user_attrs["after"] == self._tuning_budget(arm)
            }
            for number, seed in enumerate(self.definition.seeds):
                if seed in current:
                    found.append(_trial(current[seed], phase="seed", arm=arm.name, number=number, seed=seed))
        return found

    def tuning(self, arm: Arm) -> list[Trial]:
        """The tuning trials of an arm, by number."""
        stored = self._read(arm.name) if arm.axes else []
        seed = self.definition.tune_seed
        return [_trial(t, phase="tune", arm=arm.name, number=t.number, seed=seed) for t in stored]

    def total(self) -> int:
        """How many trials the study has when it is done."""
        tuned = sum(bool(arm.axes) for arm in self.definition.arms)
        return tuned * self.budget() + len(self.definition.arms) * len(self.definition.seeds)

    def done(self) -> bool:
        """Whether every trial of the budget is finished."""
        return sum(trial.finished for trial in self.trials()) == self.total()

    def _claim_tuning(self) -> Trial | None:
        """The next tuning trial, of the arm that has come least far."""
        lag, budget = self.definition.lag, self.budget()
        arms = [(arm, self.tuning(arm)) for arm in self.definition.arms if arm.axes]
        for arm, earlier in sorted(arms, key=lambda pair: len(pair[1])):
            n = len(earlier)
            if n < budget and all(trial.finished for trial in earlier[: max(0, n - lag + 1)]):
                params = suggest(
                    n,
                    arm=arm.name,
                    axes=arm.axes,
                    history=[Past(t.params, t.finished, t.score) for t in earlier],
                    seed=self.definition.seed,
                    lag=lag,
                    first=self.definition.first[arm.name],
                )
                return self._create(arm, params=params, phase="tune", number=n, seed=self.definition.tune_seed)
        return None

    def _claim_confirming(self) -> Trial | None:
        """The next confirming run of an arm whose tuning is over. Where tuning found nothing, it is skipped."""
        for arm, number, seed, tuned in self._unconfirmed():
            best = best_of(tuned)
            lacking = bool(tuned) and best is None
            trial = self._create(
                arm,
                params=best.params if best else {},
                phase="seed",
                number=number,
                seed=seed,
                attrs={"arm": arm.name, "seed": seed, "after": len(tuned)},
                result=SKIPPED if lacking else None,
            )
            if not lacking:
                return trial
        return None

    def _unconfirmed(self) -> Iterator[tuple[Arm, int, int, list[Trial]]]:
        """Arm, number, seed and tuning trials of each confirming run that can begin and has not."""
        begun = {(trial.arm, trial.seed) for trial in self.trials() if trial.phase == "seed"}
        for arm in self.definition.arms:
            tuned = self.tuning(arm)
            if len(tuned) == self._tuning_budget(arm) and all(trial.finished for trial in tuned):
                for number, seed in enumerate(self.definition.seeds):
                    if (arm.name, seed) not in begun:
                        yield arm, number, seed, tuned

    def _tuning_budget(self, arm: Arm) -> int:
        return self.budget() if arm.axes else 0

    def _create(
        self,
        arm: Arm,
        *,
        params: dict[str, Any],
        phase: Literal["tune", "seed"],
        number: int,
        seed: int,
        attrs: Mapping[str, Any] | None = None,
        result: Result | None = None,
    ) -> Trial:
        """A new trial, claimed by this worker, in one line of the journal (already failed, if `result` is given)."""
        attributes = {**(attrs or {}), "owner": self.leases.owner, "lost": 0, **({"result": result} if result else {})}
        frozen = create_trial(
            state=TrialState.FAIL if result else TrialState.RUNNING,
            params=params,
            distributions={axis.key: distribution(axis) for axis in arm.axes if axis.key in params},
            user_attrs=attributes,
        )
        study = self.ids[arm.name if phase == "tune" else CONFIRMING]
        stored = self.storage.get_trial(self.storage.create_new_trial(study, template_trial=frozen))
        return _trial(stored, phase=phase, arm=arm.name, number=number, seed=seed)

    def _read(self, name: str) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.ids[name], deepcopy=False)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the lowest score, the lowest number among equals; None if all failed."""
    scored = [(trial.score, trial.number, trial) for trial in trials if trial.score is not None]
    return min(scored, key=lambda item: item[:2])[2] if scored else None


def _trial(frozen: FrozenTrial, *, phase: Literal["tune", "seed"], arm: str, number: int, seed: int) -> Trial:
    finished = frozen.state.is_finished()
    return Trial(
        id=frozen._trial_id,
        phase=phase,
        arm=arm,
        number=number,
        seed=seed,
        params=dict(frozen.params),
        owner=frozen.user_attrs["owner"],
        lost=frozen.user_attrs["lost"],
        result=frozen.user_attrs["result"] if finished else None,
        score=frozen.values[0] if frozen.state == TrialState.COMPLETE else None,
    )
