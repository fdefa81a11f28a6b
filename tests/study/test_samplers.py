"""Every sampler and every pruner in a whole study, from the words of a command to its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.core.compose import compose, groups
from nanochat.core.spec import dump
from nanochat.study.budget import Budget
from tests.property.test_suggest import sampler as quick
from tests.study import targets
from tests.study.definitions import definition
from tests.study.stores import finish, seen, working
from tests.study.studies import run_study

SAMPLERS, PRUNERS = groups()["sampler"], groups()["pruner"]
AXES = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "lr.warmup=interval(0.0, 0.5)")


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_carries_a_study_and_pruners_beside_it(tmp_path: Path, name: str) -> None:
    pruner = PRUNERS[SAMPLERS.index(name) % len(PRUNERS)]
    trials = 4 if name == "grid" else 5
    typed = (*AXES[: 1 if name == "grid" else 2], f"sampler={name}", f"pruner={pruner}", f"study.trials={trials}")
    rows = run_study(tmp_path, *typed, "study.lag=2", "seed=1", target=targets.reporting).rows
    tuned = [row for row in rows if row["phase"] == "tune"]
    assert len(tuned) == trials and len(rows) == trials + 1
    assert rows[-1]["status"] == "complete", "confirming runs are never given up"
    assert {row["status"] for row in tuned} <= {"complete", "pruned"}
    if pruner == "none":
        assert {row["status"] for row in tuned} == {"complete"}


@pytest.mark.parametrize("name", SAMPLERS)
def test_in_two_folders_the_trials_are_the_same(tmp_path: Path, name: str) -> None:
    study = definition(arms=["mla"], sampler=dump(quick(name)), lag=2)
    tables = []
    for folder in ("a", "b"):
        with working(tmp_path / folder, study, budget=Budget(9)) as store:
            finish(store)
            tables.append(seen(store))
    assert tables[0] == tables[1]
    assert len({str(row[4]) for row in tables[0] if row[1] == "tune"}) >= 4


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_composes(name: str) -> None:
    assert compose([f"pruner={name}"])["pruner"]["_target_"].startswith(f"nanochat.pruner.{name}.")
