"""One use of a run by a study, as its storage holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState, create_trial

from nanochat.study.axes import Arm
from nanochat.study.suggest import Past, distribution

# A point is a run that a law is fitted to.
Phase = Literal["tune", "seed", "point"]
Result = Mapping[str, Any]


# What points have, and trials under a cap on hours.
OWN = ("start", "begins", "limit", "seconds")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`number` counts within the phase: tuning trials of an arm (those taken over from an earlier search lie below
    zero), or its seeds in order, or the study's points.

    place: among the trials of its Optuna study · owner: the worker on it, empty if it was handed back · lost: how
    often in a row its process died · tries: how often it failed and was begun again · micro: sequences in a forward
    pass where memory asked for fewer than planned · flops: of the whole run, where the budget counts them · result:
    None until the trial is finished · values: its objectives, None where it failed or was given up · start, begins: the
    key of the run that a point goes on from, and the tokens that it begins at · limit: seconds that one attempt may
    take, None for any · seconds: what earlier attempts took, counted where there is a limit.
    """

    id: int
    place: int
    phase: Phase
    arm: str
    number: int
    seed: int
    params: dict[str, Any]
    owner: str
    lost: int
    tries: int
    micro: int | None
    flops: float | None
    result: Result | None
    values: tuple[float, ...] | None
    start: str | None = None
    begins: int = 0
    limit: float | None = None
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """`mla tune 3`, `mla seed 2` or `mla @ 64x2 point 5`."""
        return f"{self.arm} {self.phase} {self.seed if self.phase == 'seed' else self.number}"

    @property
    def finished(self) -> bool:
        return self.result is not None

    @property
    def status(self) -> str:
        """How it ended; `open` as long as it has not."""
        return self.result["status"] if self.result is not None else "open"

    @property
    def failed(self) -> bool:
        """Whether it ended without a score for a reason of its own; to be pruned, or skipped, is no failure."""
        return self.finished and self.values is None and self.status not in ("pruned", "skipped")

    @property
    def score(self) -> float | None:
        """The objective that decides: the first one."""
        return self.values[0] if self.values is not None else None

    @cached_property
    def past(self) -> Past:
        """The trial as sampler and pruner see it."""
        result = self.result or {}
        return Past(
            params=self.params,
            finished=self.finished,
            values=self.values,
            pruned=self.status == "pruned",
            reports=[(int(tokens), float(bpb)) for tokens, bpb in result.get("reports") or ()],
            rungs=result.get("rungs") or {},
        )


def trial_of(frozen: FrozenTrial) -> Trial:
    """The trial that a storage holds."""
    attrs = frozen.user_attrs
    return Trial(
        id=frozen._trial_id,
        place=frozen.number,
        phase=attrs["phase"],
        arm=attrs["arm"],
        number=attrs["number"],
        seed=attrs["seed"],
        params=dict(frozen.params),
        owner=attrs["owner"],
        lost=attrs["lost"],
        tries=attrs["tries"],
        micro=attrs["micro"],
        flops=attrs["flops"],
        result=attrs.get("result") if frozen.state.is_finished() else None,
        values=tuple(frozen.values) if frozen.state == TrialState.COMPLETE else None,
        **{name: attrs[name] for name in OWN if name in attrs},
    )


def new_trial(
    arm: Arm, *, phase: Phase, number: int, seed: int, params: Mapping[str, Any], flops: float | None
) -> Trial:
    """A trial that no storage holds yet."""
    return Trial(
        id=-1,
        place=-1,
        phase=phase,
        arm=arm.name,
        number=number,
        seed=seed,
        params=dict(params),
        owner="",
        lost=0,
        tries=0,
        micro=None,
        flops=flops,
        result=None,
        values=None,
    )


def begun(trial: Trial, arm: Arm, *, owner: str) -> FrozenTrial:
    """A trial as a storage takes it: at its beginning, or, where it is skipped, over already."""
    attributes = {name: getattr(trial, name) for name in ("phase", "arm", "number", "seed", "flops")}
    attributes |= {name: getattr(trial, name) for name in OWN} if trial.phase == "point" or trial.limit else {}
    attributes |= {"owner": owner, "lost": 0, "tries": 0, "micro": None}
    skipped = trial.status == "skipped"
    return create_trial(
        state=TrialState.FAIL if skipped else TrialState.RUNNING,
        params=trial.params,
        distributions={axis.key: distribution(axis) for axis in arm.axes if axis.key in trial.params},
        user_attrs={**attributes, **({"result": trial.result} if skipped else {})},
    )


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the lowest score, the lowest number among equals; None if there is none."""
    scored = [(trial.score, trial.number, trial) for trial in trials if trial.score is not None]
    return min(scored, key=lambda item: item[:2])[2] if scored else None
