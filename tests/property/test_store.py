"""The store under many workers that come, die and tear the journal: always the table of an undisturbed study."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.study.budget import Budget
from nanochat.study.comparing import SKIPPED
from nanochat.study.definition import Definition
from nanochat.study.journal import mend
from nanochat.study.lease import Leases
from nanochat.study.store import Store
from nanochat.study.trial import Trial, best_of
from tests.study.definitions import definition, deserved, plans

TRIALS = 5


class Person:
    """A worker as the store sees it, with the trials it holds."""

    def __init__(self, folder: Path, study: Definition) -> None:
        self.leases = Leases(folder / "workers", seconds=60.0)
        self.life = contextlib.ExitStack()
        self.life.enter_context(self.leases.held())
        self.store = Store(folder, study, leases=self.leases, plans=plans(study))
        self.holds: list[Trial] = []

    def die(self) -> None:
        """As by kill -9: the kernel drops the lock, the files stay."""
        self.life.close()
        (self.leases.folder / f"{self.leases.owner}.lock").touch()
        (self.leases.folder / f"{self.leases.owner}.beat").write_text("7")


@contextlib.contextmanager
def opened(folder: Path, study: Definition, *, trials: int = TRIALS) -> Iterator[Person]:
    person = Person(folder, study)
    person.store.grow(Budget(trials))
    with person.life:
        yield person


def drain(person: Person) -> None:
    """Finish everything, what the person holds first."""
    while trial := (person.holds.pop() if person.holds else person.store.claim()):
        tell(person, trial)


def tell(person: Person, trial: Trial) -> bool:
    result, values = deserved(trial)
    return person.store.tell(trial, result, values=values)


def table(store: Store) -> list[tuple[Any, ...]]:
    store.refresh()
    return [(t.arm, t.phase, t.number, t.seed, t.params, t.result, t.score) for t in store.trials()]


def undisturbed(folder: Path, study: Definition, *, trials: int = TRIALS) -> list[tuple[Any, ...]]:
    with opened(folder, study, trials=trials) as person:
        drain(person)
        assert person.store.done()
        return table(person.store)


@pytest.fixture
def study() -> Definition:
    return definition()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "tell", "release", "die", "tear"]), st.integers(0, 2), st.integers(0, 9)
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=15)
def test_whatever_happens_the_table_is_the_same(steps: list[tuple[str, int, int]]) -> None:
    study = definition()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        expected = undisturbed(root / "calm", study)
        folder = root / "rough"
        people = [Person(folder, study) for _ in range(3)]
        people[0].store.grow(Budget(TRIALS))
        seen: dict[tuple[str, str, int], dict[str, Any]] = {}
        for action, who, which in steps:
            people[who] = act(action, people[who], which, folder=folder, study=study)
            held = [trial.id for person in people for trial in person.holds]
            assert len(held) == len(set(held)), "two workers hold one trial"
            for trial in people[0].store.trials():
                known = seen.setdefault((trial.arm, trial.phase, trial.number), trial.params)
                assert trial.params == known, "a trial changed its parameters"
        for person in people:
            drain(person)
        assert table(people[0].store) == expected
        assert people[0].store.done()
        for person in people:
            person.life.close()


def act(action: str, person: Person, which: int, *, folder: Path, study: Definition) -> Person:
    """One thing happens to a worker; returns it, or the one that takes its place."""
    if action == "claim":
        trial = person.store.claim()
        if trial is not None:
            person.holds.append(trial)
    elif action == "tear":
        with (folder / "journal.log").open("ab") as file:
            file.write(b'{"op_code":8,"worker'[: which + 1])
    elif action == "die":
        person.die()
        return Person(folder, study)
    elif person.holds:
        trial = person.holds.pop(which % len(person.holds))
        if action == "tell":
            assert tell(person, trial)
        else:
            person.store.release(trial)
    return person


@given(st.integers(1, 400))
@settings(max_examples=10)
def test_a_torn_journal_loses_the_torn_line_alone(cut: int) -> None:
    study = definition()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        expected = undisturbed(folder, study)
        journal = folder / "journal.log"
        whole = journal.read_bytes()
        torn = whole[: len(whole) - min(cut, len(whole))]
        journal.write_bytes(torn)
        with opened(folder, study) as person:
            lines = torn.rfind(b"\n") + 1
            kept = folder / "journal.log.torn"
            assert journal.read_bytes()[:lines] == torn[:lines]
            assert (kept.read_bytes() if kept.exists() else b"\n") == torn[lines:] + b"\n"
            drain(person)
            assert table(person.store) == expected


def test_a_whole_journal_is_left_alone(tmp_path: Path, study: Definition) -> None:
    undisturbed(tmp_path, study)
    before = (tmp_path / "journal.log").read_bytes()
    mend(tmp_path / "journal.log")
    assert (tmp_path / "journal.log").read_bytes() == before
    assert not (tmp_path / "journal.log.torn").exists()


def test_tuning_waits_for_its_lag_and_confirming_for_all_of_the_tuning(tmp_path: Path) -> None:
    with opened(tmp_path, definition(arms=["mla"]), trials=3) as person:
        first, second = person.store.claim(), person.store.claim()
        assert first is not None and second is not None
        assert (first.number, second.number) == (0, 1)
        assert person.store.claim() is None, "trial 2 sees the result of trial 0"
        tell(person, first)
        third = person.store.claim()
        assert third is not None and third.number == 2
        tell(person, third)
        assert person.store.claim() is None, "a tuning trial is still running"
        tell(person, second)
        confirming = person.store.claim()
        assert confirming is not None
        best = best_of(person.store.book.tuning["mla"])
        assert best is not None
        assert (confirming.phase, confirming.seed, confirming.params) == ("seed", 1, best.params)


def test_the_best_is_the_lowest_score_and_of_equals_the_lowest_number(tmp_path: Path) -> None:
    with opened(tmp_path, definition(arms=["mla"]), trials=4) as person:
        for score in (2.0, 1.0, 1.0, None):
            trial = person.store.claim()
            assert trial is not None
            result = {"status": "complete" if score else "failed", "reason": ""}
            person.store.tell(trial, result, values=(score,) if score else None)
        best = best_of(person.store.trials())
        assert best is not None and best.number == 1


def test_arms_without_axes_are_confirmed_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, definition(tuned=["gqa"])) as person:
        drain(person)
        phases = [(trial.arm, trial.phase) for trial in person.store.trials()]
    assert phases == [("mla", "seed")] * 2 + [("gqa", "tune")] * TRIALS + [("gqa", "seed")] * 2


def test_an_arm_whose_trials_all_failed_is_skipped_with_a_reason(tmp_path: Path, study: Definition) -> None:
    with opened(tmp_path, study) as person:
        while trial := person.store.claim():
            result, values = deserved(trial)
            failed = trial.arm == "mla"
            ended = {"status": "oom", "reason": ""} if failed else result
            person.store.tell(trial, ended, values=None if failed else values)
        assert person.store.done()
        skipped = [trial for trial in person.store.trials() if (trial.arm, trial.phase) == ("mla", "seed")]
        assert [trial.result for trial in skipped] == [SKIPPED] * 2
        assert all(t.result != SKIPPED for t in person.store.trials() if t.arm == "gqa")


def test_a_score_that_is_no_number_never_enters(tmp_path: Path, study: Definition) -> None:
    with opened(tmp_path, study) as person:
        for score in (float("nan"), float("inf")):
            trial = person.store.claim()
            assert trial is not None
            person.store.tell(trial, {"status": "complete", "reason": ""}, values=(score,))
        assert [trial.score for trial in person.store.trials() if trial.finished] == [None, None]


def test_more_trials_later_are_the_trials_of_a_larger_budget(tmp_path: Path, study: Definition) -> None:
    expected = undisturbed(tmp_path / "once", study, trials=9)
    small = undisturbed(tmp_path / "twice", study, trials=1)
    assert [row for row in small if row[1] == "seed" and row not in expected], "a larger budget finds better"
    assert undisturbed(tmp_path / "twice", study, trials=9) == expected


def test_a_study_never_shrinks(tmp_path: Path, study: Definition) -> None:
    expected = undisturbed(tmp_path, study, trials=5)
    assert undisturbed(tmp_path, study, trials=2) == expected


def test_what_was_lost_to_another_worker_cannot_be_told(tmp_path: Path, study: Definition) -> None:
    with opened(tmp_path, study) as one:
        trial = one.store.claim()
        assert trial is not None
        one.store.release(trial)
        with opened(tmp_path, study) as other:
            again = other.store.claim()
            assert again is not None
            assert (again.id, again.params) == (trial.id, trial.params)
            assert not tell(one, trial)
            assert tell(other, again)
            assert not tell(other, again), "a trial ends once"


def test_losses_in_a_row_are_counted_and_a_stop_ends_the_row(tmp_path: Path, study: Definition) -> None:
    with opened(tmp_path, study) as person:
        for lost in (1, 2, 0):
            trial = person.store.claim()
            assert trial is not None
            person.store.release(trial, lost=lost)
            assert person.store.trials()[0].lost == lost


def test_a_copied_folder_is_the_same_study(tmp_path: Path, study: Definition) -> None:
    with opened(tmp_path / "a", study) as person:
        for _ in range(3):
            trial = person.store.claim()
            assert trial is not None
            tell(person, trial)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert undisturbed(tmp_path / "b", study) == undisturbed(tmp_path / "calm", study)
