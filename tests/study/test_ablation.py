"""`study=ablation` from the command line on: each arm tuned alike, its best confirmed on fresh seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nanochat.core.errors import SpecError
from nanochat.study.reopen import reopen
from nanochat.study.runs import Runs
from nanochat.study.table import arm_results
from nanochat.study.work import Outcome
from tests.runs import small_config
from tests.study import targets
from tests.study.studies import command, open_small, run_study

TYPED = ("study=ablation", "study.name=pair", "attention=mla,gqa", "study.seeds=3", "study.trials=3")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("ablation")
    return folder, run_study(folder, *TYPED, target=targets.two_faced)


def test_every_arm_gets_the_same_tuning_on_a_seed_of_its_own(done: tuple[Path, Outcome]) -> None:
    definition, rows = done[1].study.definition, done[1].rows
    assert Counter((row["arm"], row["phase"]) for row in rows) == {
        (arm, phase): 3 for arm in ("mla", "gqa") for phase in ("tune", "seed")
    }
    assert definition.seeds == (1, 2, 3) and definition.tune_seed == 0
    assert {row["seed"] for row in rows if row["phase"] == "tune"} == {0}
    assert [[axis.key for axis in arm.axes] for arm in definition.arms] == [["lr.peak"]] * 2


def test_the_best_on_valid_documents_is_what_confirms_whatever_the_test_ones_say(done: tuple[Path, Outcome]) -> None:
    definition, rows = done[1].study.definition, done[1].rows
    for arm in definition.arms:
        tuned = [row for row in rows if (row["arm"], row["phase"]) == (arm.name, "tune")]
        by_valid = min(tuned, key=lambda row: row["valid_bpb"])
        assert by_valid is not min(tuned, key=lambda row: row["test_bpb"])
        peaks = {row["lr.peak"] for row in rows if (row["arm"], row["phase"]) == (arm.name, "seed")}
        assert peaks == {by_valid["lr.peak"]}


def test_tuning_runs_are_no_scores(done: tuple[Path, Outcome]) -> None:
    definition, rows = done[1].study.definition, done[1].rows
    without = [{**row, "test_bpb": -1.0} if row["phase"] == "tune" else row for row in rows]
    assert arm_results(definition, without) == arm_results(definition, rows)


def test_arms_are_paired_and_trained_at_the_size_that_was_matched(done: tuple[Path, Outcome]) -> None:
    study = done[1].study
    (how,) = study.definition.matched
    mla, gqa = ([study.runs.spec(arm, params={}, seed=seed) for seed in (1, 2, 3)] for arm in study.definition.arms)
    for a, b in zip(mla, gqa, strict=True):
        assert (a.seed, a.data, a.batch, a.context, a.tokenizer, a.stop, a.lr) == (
            *(b.seed, b.data, b.batch, b.context, b.tokenizer, b.stop, b.lr),
        )
    assert (mla[0].cost.params, gqa[0].cost.params) == (how.target, how.reached)
    trained = {row["arm"]: row["key"] for row in done[1].rows if row["phase"] == "seed"}
    assert trained["mla"] != trained["gqa"]


def test_another_rope_reads_anew_and_runs_nothing(done: tuple[Path, Outcome]) -> None:
    folder, before = done
    again = run_study(folder, *TYPED, "study.rope=0.5", target=targets.refusing)
    assert again.again and again.rows == before.rows
    assert again.study.definition == replace(before.study.definition, reading=again.study.definition.reading)
    assert (before.study.definition.reading.rope, again.study.definition.reading.rope) == (0.002, 0.5)
    words = [text for text in command(folder) if text.startswith("paths.")]
    config = small_config(folder, "study.name=pair")
    study, _ = reopen(config, [*words, "study.name=pair"])
    assert study.definition.reading.rope == 0.5, "the last command that said so decides"
    assert isinstance(study.runs, Runs) and study.runs.definition == study.definition
    with pytest.raises(SpecError, match=r"study\.match\.by: study pair is defined already"):
        reopen(config, [*words, "study.name=pair", "study.match.by=flops"])


def test_seeds_that_are_listed_win_and_a_hand_set_key_is_not_tuned(tmp_path: Path) -> None:
    study = open_small(tmp_path, "study=ablation", "attention=mla,gqa", "seed=7,9,11").definition
    assert study.seeds == (7, 9, 11)
    assert open_small(tmp_path, *TYPED, "seed=5").definition.seeds == (5, 6, 7)
    by_hand = open_small(tmp_path, *TYPED, "lr.peak=1e-3")
    assert not any(arm.axes for arm in by_hand.definition.arms) and by_hand.total == 2 * 3
    with pytest.raises(SpecError, match=r"study\.tune_seed=0: tuning needs a seed of its own"):
        open_small(tmp_path, *TYPED, "seed=0")
