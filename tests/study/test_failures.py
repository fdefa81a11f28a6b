"""What becomes of failures: attempts, smaller micro-batches, the end of a study that cannot work, a new beginning."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nanochat.core.errors import MachineError, SpecError
from nanochat.report.state import State, details
from nanochat.study.budget import Budget
from nanochat.study.failures import Policy, all_alike, halved
from nanochat.study.reopen import look
from nanochat.study.trial import Trial
from nanochat.study.work import work_on
from tests.study import targets
from tests.study.definitions import definition, deserved
from tests.study.stores import end, finish, seen, working
from tests.study.studies import open_small, run_study

TUNED = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=4")


def begun(folder: Path, word: str = "begun") -> int:
    return sum(int(path.read_text()) for path in (folder / "multirun").glob(f"{word}-*"))


@pytest.mark.parametrize(
    "text", ["retry", "retry()", "retry(-1)", "retry(1", "retry(x)", "Stop", "", "stop ", "retry(1.5)"]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is no policy"):
        Policy.parse(text)


def trial(tries: int) -> Trial:
    return Trial(
        id=0, place=0, phase="tune", arm="a", number=0, seed=0, params={}, owner="", lost=0, tries=tries, micro=None,
        flops=None, result=None, values=None,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["failed", "oom", "diverged", "lost", "complete", "pruned"])
def test_only_what_need_not_repeat_itself_is_begun_again(status: str) -> None:
    again = [Policy.parse("retry(2)").again(trial(tries), status) for tries in range(4)]
    assert again == ([True, True, False, False] if status in ("failed", "oom") else [False] * 4)
    assert not Policy.parse("continue").again(trial(0), status)
    assert not Policy.parse("retry(0)").again(trial(0), status)


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_halved_micro_batch_divides_the_batch_and_is_at_most_half(micro: int, sequences: int) -> None:
    found = halved(micro, sequences=sequences)
    assert found == max((n for n in range(1, 65) if 2 * n <= micro and sequences % n == 0), default=None)
    assert (found is None) == (micro == 1)


def test_memory_is_asked_for_by_half_until_one_sequence_is_left(tmp_path: Path) -> None:
    typed = ("seed=1,2", "study.on_failure='retry(9)'", "trainer.micro_tokens=256")
    outcome = run_study(tmp_path, *typed, target=targets.short_of_memory)
    assert {row["status"] for row in outcome.rows} == {"complete"}
    tried = {path.read_text() for path in (tmp_path / "multirun").glob("micro-*")}
    assert tried == {"8 4 2 1 "}


def test_out_of_memory_with_one_sequence_is_a_result(tmp_path: Path) -> None:
    outcome = run_study(tmp_path, "lr.peak=0.003", "study.on_failure='retry(9)'", target=targets.hungry)
    (row,) = outcome.rows
    assert (row["status"], row["reason"]) == ("oom", "no room")
    assert outcome.complete


@pytest.mark.parametrize(
    ("policy", "ends"), [("continue", {"failed"}), ("retry(1)", {"failed"}), ("retry(2)", {"complete"})]
)
def test_the_policy_says_how_often_a_failure_is_begun_again(tmp_path: Path, policy: str, ends: set[str]) -> None:
    typed = (*TUNED[:1], "study.trials=2", "seed=1", f"study.on_failure='{policy}'", "study.fail_fast=null")
    rows = run_study(tmp_path, *typed, target=targets.flaky).rows
    assert {row["status"] for row in rows if row.get("lr.peak") == 0.003} == ends
    assert {row["status"] for row in rows if row.get("lr.peak", 0) > 0.003} == {"diverged"}
    tried = [int(path.read_text()) for path in (tmp_path / "multirun").glob("tried-*")]
    attempts = {"continue": 1, "retry(1)": 2, "retry(2)": 3}[policy]
    assert attempts in tried and begun(tmp_path) <= 2 + len(tried), "what diverged is tried once"


def test_stop_ends_the_study_with_the_first_failure(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"study\.on_failure=stop: .* failed: ValueError: no such thing"):
        run_study(tmp_path, *TUNED, "study.on_failure=stop", "study.slots=1", target=targets.broken)
    assert begun(tmp_path) == 1


def test_first_trials_that_fail_alike_end_the_study_and_say_what_to_type(tmp_path: Path) -> None:
    typed = (*TUNED, "study.name=doomed", "study.on_failure=continue", "study.slots=1")
    with pytest.raises(MachineError) as error:
        run_study(tmp_path, *typed, target=targets.broken)
    text = str(error.value)
    assert "the first 3 trials all failed alike: ValueError: no such thing" in text
    assert "python run.py task=study study.name=doomed task.retry=failed" in text
    assert begun(tmp_path) == 3
    with pytest.raises(MachineError, match="alike"):
        run_study(tmp_path, *typed, target=targets.complete)
    assert begun(tmp_path) == 3, "the same command is told so before it runs anything"

    folder = tmp_path / "multirun" / "studies" / "doomed"
    text = shown(folder)
    assert text.count("    ValueError: no such thing at 0x7f00") == 3
    assert "word 49" in text and "word 30" not in text, "the last words alone"
    assert "task=study study.name=doomed task.retry=failed" in text

    outcome = work_on(open_small(tmp_path, *typed), target=targets.mended, begin_again=True)
    assert outcome.complete
    assert begun(tmp_path, "mended") == len({row["key"] for row in outcome.rows})
    tuned = [row for row in outcome.rows if row["phase"] == "tune"]
    assert [row["number"] for row in tuned] == [0, 1, 2, 3]
    lowest = min(row["lr.peak"] for row in tuned)
    assert {row["lr.peak"] for row in outcome.rows if row["phase"] == "seed"} == {lowest}


def shown(folder: Path) -> str:
    found, store, leases = look(folder, url=None, lease_seconds=30.0)
    console = Console(file=io.StringIO(), width=80)
    state = State(folder=folder, definition=found, store=store, workers=leases.others(), alive=leases.alive)
    console.print(details(state, runs=folder.parents[1] / "runs"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80 or "python run.py" in text
    return text


def test_failures_for_different_reasons_end_nothing(tmp_path: Path) -> None:
    typed = (*TUNED, "study.on_failure=continue")
    outcome = run_study(tmp_path, *typed, target=targets.broken_otherwise)
    assert outcome.complete
    assert [row["status"] for row in outcome.rows] == ["failed"] * 4 + ["skipped"] * 2


def ended(*ends: tuple[str, str]) -> list[Trial]:
    """Trials that ended with these statuses and reasons."""
    return [
        replace(trial(0), number=n, result={"status": status, "reason": reason}, values=None if reason else (1.0,))
        for n, (status, reason) in enumerate(ends)
    ]


def test_failures_are_alike_by_status_and_words_and_all_of_them_must_be() -> None:
    at = [("failed", f"ValueError at 0x{n}f") for n in range(4)]
    assert all_alike(ended(*at[:3]), least=3) is not None, "numbers make no difference"
    assert all_alike(ended(*at[:2]), least=3) is None
    assert all_alike(ended(*at), least=None) is None
    assert all_alike(ended(*at[:3], ("complete", "")), least=3) is None
    assert all_alike(ended(*at[:2], ("oom", "ValueError at 0x1f")), least=3) is None
    assert all_alike(ended(*at[:2], ("failed", "KeyError")), least=3) is None
    diverged = [("diverged", f"loss is nan at step {n}") for n in range(3)]
    assert all_alike(ended(*diverged), least=3) is None, "rates too high, each at its own step"
    assert all_alike(ended(diverged[0], diverged[0]), least=2) is not None


def test_begun_again_is_what_failed_and_nothing_else(tmp_path: Path) -> None:
    def ending(trial: Trial):
        if trial.number in (1, 2, 3) and trial.phase == "tune":
            return {"status": ("failed", "diverged", "oom")[trial.number - 1], "reason": ""}, None
        return deserved(replace(trial, params={"lr.peak": 0.02}))

    study = definition(arms=["mla"], lag=8)
    with working(tmp_path, study, budget=Budget(6)) as store:
        finish(store, ending)
        params = [t.params for t in store.trials() if t.phase == "tune"]
        again = store.begin_again()
        assert [t.number for t in again] == [1, 3], "what diverged would diverge again"
        assert not store.done()
        best = {"status": "complete", "reason": ""}
        claimed = finish(store, lambda t: (best, (-float(t.number),)))
        assert [(t.phase, t.number) for t in claimed] == [("tune", 1), ("tune", 3), ("seed", 0), ("seed", 1)]
        assert [t.params for t in store.trials() if t.phase == "tune"] == params
        assert claimed[-1].params == params[3], "the confirming runs follow the new best"
        assert store.done() and store.begin_again() == []
        assert store.total() == len(store.trials()) == 8


def test_later_suggestions_follow_what_was_begun_again(tmp_path: Path) -> None:
    study = definition(
        arms=["mla"], lag=1, sampler={"_target_": "nanochat.sampler.tpe.TPESpec", "startup": 2, "candidates": 8}
    )
    with working(tmp_path / "a", study, budget=Budget(8)) as store:
        finish(store)
        store.grow(Budget(9))
        trial = store.claim()
        assert trial is not None
        end(store, trial)
        expected = seen(store)
    with working(tmp_path / "b", study, budget=Budget(8)) as store:
        finish(store, lambda t: ({"status": "failed", "reason": ""}, None) if t.number == 7 else deserved(t))
        store.begin_again()
        finish(store)
        store.grow(Budget(9))
        trial = store.claim()
        assert trial is not None
        end(store, trial)
        assert seen(store) == expected, "as if it had not failed"
