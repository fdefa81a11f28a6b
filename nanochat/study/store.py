"""A study's memory: which trials there are, whose they are, how they ended. The only code that writes its storage.

The storage is Optuna's, a journal file or a database: one Optuna study for each arm that is tuned, one for the
confirming runs. A trial comes into being when it is claimed, in one line with its parameters and its owner, so that
no crash can leave half of one. Every write happens under the study's lock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from nanochat.core.spec import load
from nanochat.pruner.base import PrunerSpec
from nanochat.sampler.base import SamplerSpec
from nanochat.study.axes import CONFIRMING, Arm
from nanochat.study.book import Book
from nanochat.study.budget import Budget, flops_allow, hours_allow
from nanochat.study.confirming import missing, wanted
from nanochat.study.definition import Definition
from nanochat.study.journal import alone
from nanochat.study.lease import Leases
from nanochat.study.objectives import tuning_trials
from nanochat.study.storage import Storage, backend, settle
from nanochat.study.suggest import Suggestions, quiet_optuna
from nanochat.study.trial import Result, Trial, begun, new_trial, trial_of

SKIPPED = {"status": "skipped", "reason": "no tuning trial of this arm is complete"}

# Ends that another attempt may not repeat.
AGAIN = ("failed", "oom", "lost")


@dataclass(frozen=True)
class Plan:
    """What is known of an arm's runs beforehand: tokens, tokens at the first validation, training FLOPs."""

    tokens: int
    first: int
    flops: float


class Store:
    """The trials of a study, shared by all its workers. Methods that write take the study's lock."""

    def __init__(
        self,
        folder: Path,
        definition: Definition,
        *,
        leases: Leases,
        plans: Mapping[str, Plan],
        url: str | None = None,
        flops: Callable[[Arm, Mapping[str, Any]], float] | None = None,
    ) -> None:
        """`plans`: of each arm · `url`: of a database, None for the journal · `flops`: of a run, for caps on them."""
        quiet_optuna()
        self.definition = definition
        self.leases = leases
        self.plans = plans
        self.flops = flops
        self.sampler = load(definition.sampler, SamplerSpec, at="sampler")
        self.pruner = load(definition.pruner, PrunerSpec, at="pruner")
        with alone(folder):
            self.backend = backend(folder, url)
        self.book = Book(definition)
        self.held: set[int] = set()  # ids of the trials in this worker's hands
        self.suggesting: dict[str, Suggestions] = {}
        self.costs: dict[tuple[str, str], float] = {}
        with self.backend.exclusive():
            opened = self.backend.open()
            self.storage = Storage(opened, definition, home_id=settle(folder, url), imports=not self.sampler.fixed)
            self._read()

    def grow(self, budget: Budget) -> None:
        """Set the budget; the number of trials never shrinks."""
        with self.backend.exclusive():
            self._read()
            larger = replace(budget, trials=max(budget.trials, self.budget.trials))
            if larger != self.budget:
                confirming = itertools.chain(*self.book.confirming.values())
                spent = sum(self._cost(trial) for trial in confirming if trial.status != "skipped")
                self.storage.write("confirmed_flops", spent if larger.flops is not None else 0.0)
                self.storage.write("budget", larger.data())
                self._read()

    def claim(self) -> Trial | None:
        """Take over the next trial whose dependencies are met; None if there is none now.

        Trials whose owner is dead, or handed them back, come first: they keep number and parameters.
        """
        with self.backend.exclusive():
            self._read()
            trial = self._claim_open() or self._claim_tuning() or self._claim_confirming()
            if trial is not None:
                self.held.add(trial.id)
            return trial

    def report(self, trial: Trial, tokens: int, bpb: float) -> None:
        """Note a validation, for those who watch."""
        with self.backend.exclusive():
            if not self.storage.optuna.get_trial(trial.id).state.is_finished():
                self.storage.optuna.set_trial_intermediate_value(trial.id, tokens, bpb)

    def judge(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> int | None:
        """The tokens at which a tuning trial is given up by what it reported so far; None as long as it is not."""
        if trial.phase == "seed" or trial.number < 0:
            return None
        return self._suggestions(trial.arm).judge(self.book.past[trial.arm], trial.number, reports)

    def rungs(self, trial: Trial) -> dict[str, float]:
        """What the pruner noted on a tuning trial."""
        return self._suggestions(trial.arm).rungs(trial.number) if trial.phase == "tune" else {}

    def tell(self, trial: Trial, result: Result, *, values: Sequence[float] | None) -> bool:
        """Record how a trial ended. False, and nothing recorded, if it is not this worker's any more."""
        with self.backend.exclusive():
            stored = self.storage.optuna.get_trial(trial.id)
            if stored.state.is_finished() or stored.user_attrs["owner"] != self.leases.owner:
                self.held.discard(trial.id)
                return False
            self.storage.optuna.set_trial_user_attr(trial.id, "result", dict(result))
            if result["status"] == "pruned":
                self.storage.optuna.set_trial_state_values(trial.id, TrialState.PRUNED, [result["reports"][-1][1]])
            elif values is None or not all(map(math.isfinite, values)):
                self.storage.optuna.set_trial_state_values(trial.id, TrialState.FAIL)
            else:
                self.storage.optuna.set_trial_state_values(trial.id, TrialState.COMPLETE, list(values))
            self.book.note(_shelf(trial), self.storage.optuna.get_trial(trial.id))
            self.held.discard(trial.id)
            return True

    def release(self, trial: Trial, **changed: Any) -> None:
        """Hand a trial back, to be claimed again; `changed`: its `lost`, `tries` or `micro` by now."""
        with self.backend.exclusive():
            stored = self.storage.optuna.get_trial(trial.id)
            if stored.user_attrs["owner"] == self.leases.owner:
                for name, value in {**changed, "owner": ""}.items():
                    if stored.user_attrs[name] != value:
                        self.storage.optuna.set_trial_user_attr(trial.id, name, value)
                self._read()
            self.held.discard(trial.id)

    def begin_again(self) -> list[Trial]:
        """Put every trial that failed, for a reason that need not repeat itself, up to be claimed once more."""
        with self.backend.exclusive():
            self._read()
            failed = [trial for trial in self.book.trials() if trial.status in AGAIN and trial.number >= 0]
            for trial in failed:
                self._create(trial, owner="")
            self._read()
            return failed

    def trials(self) -> list[Trial]:
        """Every trial that counts, in the order of the table, as last read."""
        return self.book.trials()

    def refresh(self) -> None:
        """Read what other workers wrote."""
        with self.backend.exclusive():
            self._read()

    def limit(self, arm: Arm) -> int:
        """How many tuning trials an arm may have, by the number of them alone."""
        return tuning_trials(arm, sampler=self.sampler, trials=self.budget.trials)

    def more(self, count: int) -> int | None:
        """The budget with `count` more trials; None where no arm has more to try."""
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
        """Whether every trial of the budget is finished."""
        tuned = self._tuned()
        if len(tuned) < len(self.definition.arms) or self.book.open():
            return False
        return next(missing(self.book, tuned=tuned), None) is None

    def _read(self) -> None:
        for name, stored in self.storage.read():
            self.book.read(name, stored)
        for arm in self.book.reopened:
            self.suggesting.pop(arm, None)
        self.book.reopened.clear()
        attributes = self.storage.attributes()
        self.budget = Budget(**attributes.get("budget", {}))
        self.closed = "closed" in attributes and attributes["closed"] == self.budget.data()

    def _claim_open(self) -> Trial | None:
        """The first open trial that nobody works on."""
        for trial in self.book.open():
            if trial.owner == self.leases.owner and trial.id not in self.held:
                return trial  # claimed before, by a storage that went away before it could say so
            if not self.leases.alive(trial.owner):
                self.storage.optuna.set_trial_user_attr(trial.id, "owner", self.leases.owner)
                return replace(trial, owner=self.leases.owner)
        return None

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
            self.storage.write("closed", self.budget.data())
            self.closed = True
            return None
        return self._create(
            new_trial(arm, phase="tune", number=len(past), seed=self.definition.tune_seed, params=params, flops=flops)
        )

    def _affordable(self, arm: Arm, flops: float | None) -> bool:
        """Whether a cap on FLOPs allows the arm's next trial."""
        return flops is None or flops_allow(
            self.book,
            self.budget,
            arm=arm.name,
            flops=flops,
            first={name: plan.flops for name, plan in self.plans.items()},
            cost=self._cost,
            confirmed=self.storage.attributes().get("confirmed_flops", 0.0),
        )

    def _cost(self, trial: Trial) -> float:
        """FLOPs of a trial's whole run; they are not noted on it where it was begun without a cap on them."""
        return trial.flops or self._flops(self.definition.arm(trial.arm), trial.params)

    def _flops(self, arm: Arm, params: Mapping[str, Any]) -> float:
        """Training FLOPs of a run with these parameters."""
        known = (arm.name, repr(params))
        if known not in self.costs:
            self.costs[known] = self.flops(arm, params) if self.flops else self.plans[arm.name].flops
        return self.costs[known]

    def _claim_confirming(self) -> Trial | None:
        """The next confirming run of an arm whose tuning is over. Where tuning found nothing, it is skipped."""
        for arm, number, seed in missing(self.book, tuned=self._tuned()):
            best = self.book.best.get(arm.name)
            params = best.params if best else {}
            trial = new_trial(arm, phase="seed", number=number, seed=seed, params=params, flops=best and best.flops)
            if best is None and arm.axes:
                self._create(replace(trial, result=SKIPPED))
            else:
                return self._create(trial)
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
        """The arm's past, in memory."""
        if name not in self.suggesting:
            definition, arm, plan = self.definition, self.definition.arm(name), self.plans[name]
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

    def _create(self, trial: Trial, *, owner: str | None = None) -> Trial:
        """Store a new trial in one line: this worker's, or `owner`'s (already over, if it is to be skipped)."""
        whose = self.leases.owner if owner is None else owner
        frozen = begun(trial, self.definition.arm(trial.arm), owner=whose)
        stored = self.storage.create(trial, frozen)
        self.book.note(_shelf(trial), stored)
        return trial_of(stored)


def _shelf(trial: Trial) -> str:
    """The Optuna study that holds a trial, as the book names it."""
    return trial.arm if trial.phase == "tune" else CONFIRMING
