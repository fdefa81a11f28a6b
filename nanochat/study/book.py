"""All trials of a study as last read, by arm and number. Reading again costs what is new, not what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial

from nanochat.study.definition import Definition
from nanochat.study.suggest import Past
from nanochat.study.trial import Trial, trial_of


class Shelf:
    """The trials of one Optuna study, each in its place, and which of them are open."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.open: set[int] = set()

    def read(self, stored: Sequence[FrozenTrial]) -> Iterator[Trial]:
        """Take note of `stored`, all trials of the Optuna study; yields those that are new or changed."""
        for place in [*sorted(self.open), *range(len(self.trials), len(stored))]:
            yield self.put(stored[place])

    def put(self, frozen: FrozenTrial) -> Trial:
        """Take note of one trial, of which all before it are known."""
        trial = trial_of(frozen)
        if trial.place < len(self.trials):
            self.trials[trial.place] = trial
        else:
            assert trial.place == len(self.trials), "trials are noted in order"
            self.trials.append(trial)
        (self.open.discard if trial.finished else self.open.add)(trial.place)
        return trial


class Book:
    """The trials that count.

    tuning: for each arm by number, the latest of those with one number (a failed trial can be begun again) · past:
    the same as sampler and pruner see them · imported: taken over from earlier searches · confirming: for each arm
    and seed, all that were ever begun · points: of a law by number, the latest of those with one number.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.shelves: dict[str, Shelf] = {}
        self.tuning: dict[str, list[Trial]] = {arm.name: [] for arm in definition.arms}
        self.past: dict[str, list[Past]] = {arm.name: [] for arm in definition.arms}
        self.imported: dict[str, list[Trial]] = {arm.name: [] for arm in definition.arms}
        self.confirming: dict[tuple[str, int], list[Trial]] = {}
        self.points: dict[int, Trial] = {}
        self.best: dict[str, Trial] = {}
        self.unfinished: dict[str, int] = {arm.name: 0 for arm in definition.arms}
        self.reopened: set[str] = set()

    def read(self, name: str, stored: Sequence[FrozenTrial]) -> None:
        """Take note of what the Optuna study `name` holds by now."""
        for trial in self.shelves.setdefault(name, Shelf()).read(stored):
            self._sort(trial)

    def note(self, name: str, frozen: FrozenTrial) -> None:
        """Take note of one trial of the Optuna study `name`, just read or written after all others were read."""
        self._sort(self.shelves.setdefault(name, Shelf()).put(frozen))

    def _sort(self, trial: Trial) -> None:
        if trial.phase == "seed":
            self._confirm(trial)
        elif trial.phase == "point":
            if trial.number not in self.points or trial.place >= self.points[trial.number].place:
                self.points[trial.number] = trial
        elif trial.number < 0:
            self._import(trial)
        else:
            self._tune(trial)

    def open(self) -> list[Trial]:
        """Every trial that is not finished, in the order in which they were begun."""
        found = (shelf.trials[place] for shelf in self.shelves.values() for place in sorted(shelf.open))
        return [trial for trial in found if self._counts(trial)]

    def trials(self) -> list[Trial]:
        """Every trial that counts, in the order of the table: arm by arm, tuning before seeds; then the points."""
        found: list[Trial] = []
        for arm in self.definition.arms:
            found += sorted(self.imported[arm.name], key=lambda trial: trial.number)
            found += self.tuning[arm.name]
            found += filter(None, (self.confirmed(arm.name, seed) for seed in self.definition.seeds))
        return found + [self.points[number] for number in sorted(self.points)]

    def confirmed(self, arm: str, seed: int) -> Trial | None:
        """The confirming run of what is the arm's best by now. Runs of a best that was overtaken do not count."""
        best = self.best.get(arm)
        params = best.params if best else {}
        return next((t for t in reversed(self.confirming.get((arm, seed), ())) if t.params == params), None)

    def _tune(self, trial: Trial) -> None:
        trials, past = self.tuning[trial.arm], self.past[trial.arm]
        if trial.number == len(trials):
            trials.append(trial)
            past.append(trial.past)
            self.unfinished[trial.arm] += not trial.finished
        elif trial.place >= trials[trial.number].place:
            before = trials[trial.number]
            trials[trial.number], past[trial.number] = trial, trial.past
            self.unfinished[trial.arm] += before.finished - trial.finished
            if before.finished:
                self.reopened.add(trial.arm)
                self.best.pop(trial.arm, None)
                for other in (*self.imported[trial.arm], *trials):
                    self._compare(other)
        self._compare(trial)

    def _import(self, trial: Trial) -> None:
        self.imported[trial.arm].append(trial)
        self._compare(trial)

    def _confirm(self, trial: Trial) -> None:
        known = self.confirming.setdefault((trial.arm, trial.seed), [])
        known[:] = [other for other in known if other.place != trial.place] + [trial]
        known.sort(key=lambda other: other.place)

    def _compare(self, trial: Trial) -> None:
        best = self.best.get(trial.arm)
        if trial.score is not None and (
            best is None or best.score is None or (trial.score, trial.number) < (best.score, best.number)
        ):
            self.best[trial.arm] = trial

    def _counts(self, trial: Trial) -> bool:
        """Whether a trial is the latest of its number, or of its seed."""
        if trial.phase == "seed":
            return self.confirmed(trial.arm, trial.seed) is trial
        if trial.phase == "point":
            return self.points[trial.number] is trial
        return trial.number < 0 or self.tuning[trial.arm][trial.number] is trial
