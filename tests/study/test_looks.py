"""Looks: a study that may end at stated numbers of seeds, wherever its runs raced, died or were overtaken."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.core.errors import SpecError
from nanochat.study import table
from nanochat.study.budget import Budget
from nanochat.study.definition import Definition
from nanochat.study.join import join
from nanochat.study.judge import seeds_wanted
from nanochat.study.reading import Reading
from nanochat.study.reopen import reopen
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from nanochat.task.plan import plan_study
from tests.runs import small_config
from tests.study import targets
from tests.study.definitions import definition
from tests.study.stores import finish, seen, working
from tests.study.studies import command, open_small, run_study

LOOKS = (3, 5, 8)
SEEDS = tuple(range(1, 9))


def looking(*, tuned: Sequence[str] = (), **reading: Any) -> Definition:
    return replace(definition(tuned=tuned, seeds=SEEDS), reading=Reading(looks=LOOKS, **reading))


def scored(gap: float, *, noise: float = 0.001) -> Callable[[Trial], tuple[dict[str, Any], tuple[float, ...]]]:
    """gqa is worse by `gap`, give or take; what was tuned to a lower peak is better by as much."""

    def ending(trial: Trial) -> tuple[dict[str, Any], tuple[float, ...]]:
        chance = random.Random(f"{trial.arm} {trial.seed}").gauss(0, noise)
        score = 1.0 + gap * (trial.arm == "gqa") + chance + trial.params.get("lr.peak", 0.0)
        return {"status": "complete", "reason": "", "seconds": 1.0, "valid_bpb": score, "test_bpb": score}, (score,)

    return ending


CLEAR, UNCLEAR = scored(0.5), scored(0.0)


def ended_by(study: Definition, ending: Callable[[Trial], Any], pairs: Sequence[tuple[str, int]]) -> dict:
    blank = {"id": 0, "place": 0, "phase": "seed", "number": 0, "owner": "", "lost": 0, "tries": 0, "micro": None}
    return {
        (arm, seed): ending(Trial(arm=arm, seed=seed, params={}, flops=None, result=None, values=None, **blank))[0]
        for arm, seed in pairs
    }


@given(st.permutations([(arm, seed) for arm in ("mla", "gqa") for seed in SEEDS]), st.sampled_from((0.0, 0.002, 0.5)))
@settings(max_examples=25, deadline=None)
def test_more_known_never_asks_for_fewer_seeds_and_order_does_not_matter(
    order: list[tuple[str, int]], gap: float
) -> None:
    """As results arrive in whatever order among those asked for, failed ones among them."""
    study, known, asked = looking(), dict[tuple[str, int], Any](), []
    results = ended_by(study, scored(gap), order)
    results[order[0]] = {"status": "diverged", "reason": ""}
    while True:
        seeds = study.seeds[: seeds_wanted(study, known)]
        asked.append(len(seeds))
        pair = next((pair for pair in order if pair[1] in seeds and pair not in known), None)
        if pair is None:
            break
        known[pair] = results[pair]
    assert asked == sorted(asked) and set(asked) <= set(LOOKS)
    assert len(known) == 2 * seeds_wanted(study, known)
    calm = {pair: results[pair] for pair in sorted(known)}
    assert seeds_wanted(study, calm) == seeds_wanted(study, known)


def test_failed_runs_count_as_over(tmp_path: Path) -> None:
    def failing(trial: Trial) -> tuple[dict[str, Any], Any]:
        return ({"status": "diverged", "reason": ""}, None) if trial.seed == 2 else CLEAR(trial)

    with working(tmp_path, looking()) as store:
        claimed = finish(store, failing)
        assert store.done()
    assert sorted({trial.seed for trial in claimed}) == [1, 2, 3, 4, 5], "of three seeds two are too few to decide"


@pytest.mark.parametrize(("ending", "seeds"), [(CLEAR, 3), (UNCLEAR, 8)])
def test_a_clear_study_ends_at_the_first_look_another_goes_to_the_last(
    tmp_path: Path, ending: Callable[[Trial], Any], seeds: int
) -> None:
    with working(tmp_path, looking()) as store:
        assert store.total() == 2 * 3
        finish(store, ending)
        assert store.done() and store.total() == len(store.trials()) == 2 * seeds


def test_a_rope_lets_equals_end_early(tmp_path: Path) -> None:
    with working(tmp_path, looking(rope=0.5)) as store:
        assert len(finish(store, UNCLEAR)) == 2 * 3


@pytest.mark.parametrize("ending", [CLEAR, UNCLEAR], ids=["clear", "unclear"])
@pytest.mark.parametrize("seed", range(3))
def test_two_workers_that_race_and_die_come_to_the_same_table(tmp_path: Path, ending: Any, seed: int) -> None:
    study, budget = looking(tuned=["mla"]), Budget(3)
    with working(tmp_path / "calm", study, budget=budget) as store:
        finish(store, ending)
        expected = seen(store)
    chance = random.Random(seed)
    done = False
    while not done:  # each time both workers die with what they hold
        with working(tmp_path / "raced", study, budget=budget) as one, working(tmp_path / "raced", study) as two:
            held: list[tuple[Store, Trial]] = []
            while not (done := one.done()) and chance.random() > 0.05:
                store = chance.choice((one, two))
                trial = store.claim() if len(held) < 3 and chance.random() < 0.6 else None
                if trial is not None:
                    held.append((store, trial))
                elif held:
                    owner, over = held.pop(chance.randrange(len(held)))
                    result, values = ending(over)
                    owner.tell(over, result, values=values)
                one.refresh()
            found = seen(one)
    assert found == expected


def test_no_look_is_taken_on_a_best_that_was_overtaken(tmp_path: Path) -> None:
    study = looking(tuned=["mla", "gqa"])
    with working(tmp_path, study, budget=Budget(2)) as store:
        first = finish(store, CLEAR)
        assert store.done() and sum(trial.phase == "seed" for trial in first) == 2 * 3
    with working(tmp_path, study, budget=Budget(3)) as store:
        assert not store.done()
        asked = []
        while trial := store.claim():
            if trial.phase == "tune":  # the new one is better, and what it confirms is not clear at all
                result, _ = CLEAR(trial)
                assert store.tell(trial, result, values=(-1.0,))
            else:
                asked.append((trial.arm, trial.seed))
                result, values = UNCLEAR(replace(trial, params={}))
                assert store.tell(trial, result, values=values)
        assert asked == [
            (arm, seed) for look in ((1, 2, 3), (4, 5), (6, 7, 8)) for arm in ("mla", "gqa") for seed in look
        ]
        assert store.done() and store.total() == len(store.trials()) == 2 * 3 + 2 * 8


def test_caps_set_all_seeds_aside_and_a_look_ends_the_study_all_the_same(tmp_path: Path) -> None:
    for name, cap in (("flops", Budget(50, flops=20e6)), ("hours", Budget(50, hours=22 / 3600))):
        with working(tmp_path / name, looking(tuned=["mla"]), budget=cap) as store:
            claimed = finish(store, CLEAR)
            assert store.done() and sum(trial.phase == "seed" for trial in claimed) == 6
            assert 1 <= sum(trial.phase == "tune" for trial in claimed) <= 6, "16 are kept for the seeds"


ARMS = ("study.name=looked", "attention=mla,gqa", "seed=range(1,6)", "study.looks=[3,5]")


def test_a_real_study_ends_early_and_its_plan_says_so(tmp_path: Path) -> None:
    before = plan_study(open_small(tmp_path, *ARMS), timed_from=1e30)
    assert before.looks and before.runs == before.left == 10
    outcome = run_study(tmp_path, *ARMS, target=targets.by_rank)
    assert outcome.complete and len(outcome.rows) == 6 == outcome.study.total
    after = plan_study(open_small(tmp_path, *ARMS), timed_from=1e30)
    assert (after.runs, after.left, after.looks) == (6, 0, False)
    rows = table.read_csv(outcome.study.folder / table.FILE, outcome.study.definition)
    assert [row["seed"] for row in rows] == [1, 2, 3] * 2


def test_how_a_study_with_looks_is_read_cannot_change(tmp_path: Path) -> None:
    study = open_small(tmp_path, *ARMS)
    join(study.folder, study.definition, others=())
    with pytest.raises(SpecError, match="is another study already"):
        open_small(tmp_path, *ARMS, "study.rope=0.1")
    words = [*(text for text in command(tmp_path) if text.startswith("paths.")), "study.name=looked"]
    with pytest.raises(SpecError, match="is another study already"):
        reopen(small_config(tmp_path, "study.name=looked"), [*words, "study.baseline=mla"])


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("attention=mla,gqa", "seed=1,2,3,4,5", "study.looks=[2,5]"), "must grow from 3 or more to all 5"),
        (("attention=mla,gqa", "seed=1,2,3,4,5", "study.looks=[3,4]"), "must grow from 3 or more to all 5"),
        (("attention=mla,gqa", "seed=1,2,3", "study.looks=[3,3]"), "list more seeds"),
        (("attention=mla,gqa", "seed=1,2,3,4", "study.looks=[3,4]", "study.generalise=documents"), "for new seeds"),
        (("seed=1,2,3,4", "study.looks=[3,4]"), "nothing to decide"),
    ],
)
def test_looks_that_decide_nothing_are_refused(tmp_path: Path, typed: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=r"study\.looks") as error:
        open_small(tmp_path, *typed)
    assert words in str(error.value)
