"""The agenda of a comparison: every arm is tuned, then the best of each is run on all seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nanochat.core.spec import load
from nanochat.pruner.base import PrunerSpec
from nanochat.sampler.base import SamplerSpec
from nanochat.study.agenda import Agenda
from nanochat.study.axes import Arm
from nanochat.study.budget import flops_allow, hours_allow
from nanochat.study.confirming import missing, wanted
from nanochat.study.objectives import tuning_trials
from nanochat.study.suggest import Suggestions
from nanochat.study.trial import Trial, new_trial

if TYPE_CHECKING:
    from nanochat.study.store import Store

SKIPPED = {"status": "skipped", "reason": "no tuning trial of this arm is complete"}


class Comparing(Agenda):
    """Tuning in turn, arm by arm, then the seeds."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.sampler = load(self.definition.sampler, SamplerSpec, at="sampler")
        self.pruner = load(self.definition.pruner, PrunerSpec, at="pruner")
        self.suggesting: dict[str, Suggestions] = {}
        self.costs: dict[tuple[str, str], float] = {}

    def claim(self) -> Trial | None:
        return self._claim_tuning() or self._claim_confirming()

    def judge(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> int | None:
        if trial.phase == "seed" or trial.number < 0:
            return None
        return self._suggestions(trial.arm).judge(self.book.past[trial.arm], trial.number, reports)

    def rungs(self, trial: Trial) -> dict[str, float]:
        return self._suggestions(trial.arm).rungs(trial.number) if trial.phase == "tune" else {}

    def limit(self, arm: Arm) -> int:
        return tuning_trials(arm, sampler=self.sampler, trials=self.budget.trials)

    def more(self, count: int) -> int | None:
        trials = self.budget.trials + count
        limits = [tuning_trials(arm, sampler=self.sampler, trials=trials) for arm in self.definition.arms]
        return trials if limits != [self.limit(arm) for arm in self.definition.arms] else None

    def total(self) -> int:
        """How many trials the study has when it is done, those taken over from an earlier search included."""
        tuned = sum(
            len(self.book.tuning[arm.name]) if self.closed else max(self.limit(arm), len(self.book.tuning[arm.name]))
            for arm in self.definition.arms
        )
        imported = sum(map(len, self.book.imported.values()))
        return imported + tuned + len(self.definition.arms) * wanted(self.book, tuned=self._tuned())

    def done(self) -> bool:
        tuned = self._tuned()
        if len(tuned) < len(self.definition.arms) or self.book.open():
            return False
        return next(missing(self.book, tuned=tuned), None) is None

    @property
    def closed(self) -> bool:
        """Whether tuning ended for want of budget."""
        return "closed" in self.store.noted and self.store.noted["closed"] == self.budget.data()

    def confirmed_flops(self) -> float:
        confirming = itertools.chain(*self.book.confirming.values())
        return sum(self._cost(trial) for trial in confirming if trial.status != "skipped")

    def _claim_tuning(self) -> Trial | None:
        """The next tuning trial, of the arm that has come least far."""
        arms = [arm for arm in self.definition.arms if len(self.book.tuning[arm.name]) < self.limit(arm)]
        for arm in sorted(arms, key=lambda arm: len(self.book.tuning[arm.name])) if not self.closed else ():
            past = self.book.past[arm.name]
            if self._suggestions(arm.name).ready(past, len(past)):
                return self._suggest(arm)
            if self.budget.flops is not None:
                return None  # one fixed order: the others wait for it
        return None

    def _suggest(self, arm: Arm) -> Trial | None:
        """The arm's next trial, or the end of tuning where the budget does not allow it."""
        past = self.book.past[arm.name]
        params = self._suggestions(arm.name).suggest(past, len(past))
        flops = self._flops(arm, params) if self.budget.flops is not None else None
        if not hours_allow(self.book, self.budget, arm=arm.name) or not self._affordable(arm, flops):
            self.store.note("closed", self.budget.data())
            return None
        return self.store.begin(
            new_trial(arm, phase="tune", number=len(past), seed=self.definition.tune_seed, params=params, flops=flops)
        )

    def _affordable(self, arm: Arm, flops: float | None) -> bool:
        """Whether a cap on FLOPs allows the arm's next trial."""
        return flops is None or flops_allow(
            self.book,
            self.budget,
            arm=arm.name,
            flops=flops,
            first={name: plan.flops for name, plan in self.store.plans.items()},
            cost=self._cost,
            confirmed=self.store.noted.get("confirmed_flops", 0.0),
        )

    def _cost(self, trial: Trial) -> float:
        """FLOPs of a trial's whole run; they are not noted on it where it was begun without a cap on them."""
        return trial.flops or self._flops(self.definition.arm(trial.arm), trial.params)

    def _flops(self, arm: Arm, params: Mapping[str, Any]) -> float:
        """Training FLOPs of a run with these parameters."""
        known = (arm.name, repr(params))
        if known not in self.costs:
            self.costs[known] = self.store.flops(arm, params) if self.store.flops else self.store.plans[arm.name].flops
        return self.costs[known]

    def _claim_confirming(self) -> Trial | None:
        """The next confirming run of an arm whose tuning is over. Where tuning found nothing, it is skipped."""
        for arm, number, seed in missing(self.book, tuned=self._tuned()):
            best = self.book.best.get(arm.name)
            params = best.params if best else {}
            trial = new_trial(arm, phase="seed", number=number, seed=seed, params=params, flops=best and best.flops)
            if best is None and arm.axes:
                self.store.begin(replace(trial, result=SKIPPED))
            else:
                return self.store.begin(trial)
        return None

    def _tuned(self) -> list[str]:
        """The arms whose tuning is over."""
        return [
            arm.name
            for arm in self.definition.arms
            if (self.closed or len(self.book.tuning[arm.name]) >= self.limit(arm))
            and self.book.unfinished[arm.name] == 0
        ]

    def _suggestions(self, name: str) -> Suggestions:
        """The arm's past, in memory; made anew where one of its trials was begun again."""
        if name in self.book.reopened:
            self.book.reopened.discard(name)
            self.suggesting.pop(name, None)
        if name not in self.suggesting:
            definition, arm, plan = self.definition, self.definition.arm(name), self.store.plans[name]
            self.suggesting[name] = Suggestions(
                arm=name,
                axes=arm.axes,
                sampler=self.sampler,
                pruner=self.pruner.build(tokens=plan.tokens, first=plan.first),
                seed=definition.seed,
                lag=definition.lag,
                first=definition.first[name],
                objectives=len(definition.objectives),
                imported=[trial.past for trial in sorted(self.book.imported[name], key=lambda trial: trial.number)],
            )
        return self.suggesting[name]
