"""A search that changed begins with what the earlier ones found out: their trials that still fit."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.storages import BaseStorage
from optuna.trial import create_trial

from nanochat.study.axes import Arm
from nanochat.study.suggest import distribution
from nanochat.study.trial import Trial, trial_of

ATTRIBUTE = "imported"


def fits(trial: Trial, arm: Arm) -> bool:
    """Whether a finished trial could be one of the arm as it is searched now."""
    axes = {axis.key: axis for axis in arm.axes if axis.active(trial.params)}
    inside = trial.params.keys() == axes.keys() and all(axes[key].holds(trial.params[key]) for key in axes)
    return inside and trial.finished and trial.status != "skipped"


def take_over(storage: BaseStorage, study: int, arm: Arm, *, earlier: Sequence[int]) -> int:
    """Copy what fits from the Optuna studies `earlier` to `study`, once; returns how many there are.

    A copy that was cut short goes on: what is there is not copied again.
    """
    done = storage.get_study_user_attrs(study).get(ATTRIBUTE)
    if done is not None:
        return done
    old = [trial_of(t) for e in earlier for t in storage.get_all_trials(e, deepcopy=False)]
    found: dict[str, Trial] = {}
    for trial in old:
        if trial.number >= 0 and fits(trial, arm):
            found[repr(sorted(trial.params.items()))] = trial  # of equals the last: it may have been begun again
    there = {repr(sorted(t.params.items())) for t in storage.get_all_trials(study, deepcopy=False)}
    for number, (name, trial) in enumerate(found.items(), start=-len(found)):
        if name not in there:
            _copy(storage, study, trial, arm=arm, number=number)
    storage.set_study_user_attr(study, ATTRIBUTE, len(found))
    return len(found)


def _copy(storage: BaseStorage, study: int, trial: Trial, *, arm: Arm, number: int) -> None:
    stored = storage.get_trial(trial.id)
    space = {axis.key: distribution(axis) for axis in arm.axes if axis.key in trial.params}
    frozen = create_trial(
        state=stored.state,
        values=list(stored.values) if stored.values is not None else None,
        params=trial.params,
        distributions=space,
        user_attrs={**stored.user_attrs, "number": number},
        intermediate_values=dict(stored.intermediate_values),
    )
    storage.create_new_trial(study, template_trial=frozen)
