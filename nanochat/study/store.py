"""A study's memory: which trials there are, whose they are, how they ended. The only code that writes its storage.

The storage is Optuna's, a journal file or a database: one Optuna study for each arm that is tuned, one for the
confirming runs. A trial comes into being when it is claimed, in one line with its parameters and its owner, so that
no crash can leave half of one. Every write happens under the study's lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from nanochat.core.spec import load
from nanochat.sampler.base import SamplerSpec
from nanochat.study.agenda import Agenda, Plan
from nanochat.study.axes import CONFIRMING, Arm
from nanochat.study.book import Book
from nanochat.study.budget import Budget
from nanochat.study.comparing import Comparing
from nanochat.study.definition import Definition
from nanochat.study.journal import alone
from nanochat.study.lease import Leases
from nanochat.study.ledger import charge
from nanochat.study.points import Points
from nanochat.study.storage import Storage, backend, settle
from nanochat.study.suggest import quiet_optuna
from nanochat.study.trial import Result, Trial, begun, trial_of

NO_ROOM = {"status": "skipped", "reason": "the budget has no room for another attempt", "elapsed": 0.0}

# Ends that another attempt may not repeat; how long a run takes depends on what else its machine does.
AGAIN = ("failed", "oom", "lost", "timeout")


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
        with alone(folder):
            self.backend = backend(folder, url)
        self.book = Book(definition)
        self.held: set[int] = set()  # ids of the trials in this worker's hands
        self.agenda: Agenda = Points(self) if definition.design else Comparing(self)
        imports = not load(definition.sampler, SamplerSpec, at="sampler").fixed
        with self.backend.exclusive():
            opened = self.backend.open()
            self.storage = Storage(opened, definition, home_id=settle(folder, url), imports=imports)
            self._read()

    def grow(self, budget: Budget) -> None:
        """Set the budget; the number of trials never shrinks. What the one before had no room for is put up again."""
        with self.backend.exclusive():
            self._read()
            larger = replace(budget, trials=max(budget.trials, self.budget.trials))
            if larger != self.budget:
                confirmed = self.agenda.confirmed_flops() if larger.flops is not None else 0.0
                self.storage.write("confirmed_flops", confirmed)
                self.storage.write("budget", larger.data())
                self._read()
                self._put_up([trial for trial in self.book.trials() if trial.result == NO_ROOM])

    def claim(self) -> Trial | None:
        """Take over the next trial whose dependencies are met; None if there is none now.

        Trials whose owner is dead, or handed them back, come first: they keep number and parameters.
        """
        with self.backend.exclusive():
            self._read()
            trial = self._claim_open() or self.agenda.claim()
            if trial is not None:
                self.held.add(trial.id)
            return trial

    def report(self, trial: Trial, tokens: int, bpb: float) -> None:
        """Note a validation, for those who watch."""
        with self.backend.exclusive():
            if not self.storage.optuna.get_trial(trial.id).state.is_finished():
                self.storage.optuna.set_trial_intermediate_value(trial.id, tokens, bpb)

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
            return self._put_up([trial for trial in self.book.trials() if trial.status in AGAIN])

    def trials(self) -> list[Trial]:
        """Every trial that counts, in the order of the table, as last read."""
        return self.book.trials()

    def judge(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> int | None:
        """The tokens at which a tuning trial is given up by what it reported so far; None as long as it is not."""
        return self.agenda.judge(trial, reports)

    def rungs(self, trial: Trial) -> Mapping[str, float]:
        """What the pruner noted on a tuning trial."""
        return self.agenda.rungs(trial)

    def total(self) -> int:
        """How many trials the study has when it is done, as far as is known."""
        return self.agenda.total()

    def done(self) -> bool:
        """Whether every trial of the budget is finished."""
        return self.agenda.done()

    def refresh(self) -> None:
        """Read what other workers wrote."""
        with self.backend.exclusive():
            self._read()

    def begin(self, trial: Trial, *, owner: str | None = None) -> Trial:
        """Store a new trial in one line: this worker's, or `owner`'s (already over, if it is to be skipped). For those
        who hold the lock: the agenda."""
        whose = self.leases.owner if owner is None else owner
        frozen = begun(trial, self.definition.arm(trial.arm), owner=whose)
        stored = self.storage.create(trial, frozen)
        self.book.note(_shelf(trial), stored)
        return trial_of(stored)

    def note(self, name: str, value: Any) -> None:
        """Note something on the study as a whole, with the lock held."""
        self.storage.write(name, value)
        self.noted = {**self.noted, name: value}

    def _put_up(self, ended: Sequence[Trial]) -> list[Trial]:
        """Put up trials that ended to be claimed once more, but those from which something followed already."""
        again = [trial for trial in ended if trial.number >= 0 and self.agenda.may_begin_again(trial)]
        for trial in again:
            self.begin(replace(trial, result=None, values=None, seconds=charge(trial, "seconds")), owner="")
        self._read()
        return again

    def _read(self) -> None:
        for name, stored in self.storage.read():
            self.book.read(name, stored)
        self.noted = self.storage.attributes()
        self.budget = Budget(**self.noted.get("budget", {}))

    def _claim_open(self) -> Trial | None:
        """The first open trial that nobody works on; one that the budget has no room for any more is over."""
        for trial in self.book.open():
            if trial.owner == self.leases.owner and trial.id not in self.held:
                return trial  # claimed before, by a storage that went away before it could say so
            if self.leases.alive(trial.owner):
                continue
            # What an attempt took whose end nobody saw is not known: it counts in full.
            unseen = trial.limit if trial.owner and trial.limit else 0.0
            trial = replace(trial, owner=self.leases.owner, seconds=trial.seconds + unseen)
            if unseen:
                self.storage.optuna.set_trial_user_attr(trial.id, "seconds", trial.seconds)
            self.storage.optuna.set_trial_user_attr(trial.id, "owner", trial.owner)
            if self.agenda.affords(trial):
                return trial
            self.storage.optuna.set_trial_user_attr(trial.id, "result", NO_ROOM)
            self.storage.optuna.set_trial_state_values(trial.id, TrialState.FAIL)
            self.book.note(_shelf(trial), self.storage.optuna.get_trial(trial.id))
        return None


def _shelf(trial: Trial) -> str:
    """The Optuna study that holds a trial, as the book names it."""
    return trial.arm if trial.phase == "tune" else CONFIRMING
