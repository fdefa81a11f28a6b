"""Killed at any moment, a study comes to the table of calm: TPE and pruning included."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from nanochat.run import child
from tests.faults.storm import STUDY, Storm, table, weights
from tests.study.studies import lasting, run_study

TRIALS = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for writers"),
]


def test_a_storm_changes_nothing(tmp_path: Path) -> None:
    calm = tmp_path / "calm"
    first = run_study(calm, *STUDY, f"study.trials={TRIALS}", target=child.main)
    assert first.complete
    ends = [row["status"] for row in table(calm) if row["phase"] == "tune"]
    assert "pruned" in ends and ends.count("complete") > 2, "TPE and the pruner have something to do"
    storm = Storm(tmp_path / "storm", TRIALS, random.Random(1))
    storm.rage(runs=6, workers=1, pause=(0.1, 0.8))
    assert storm.kills["worker"] == 1 and storm.kills["run"] >= 3
    assert storm.writers == [], "a folder had two writers"
    assert table(tmp_path / "storm") == table(calm)
    assert weights(tmp_path / "storm") == weights(calm)
    again = run_study(calm, *STUDY, f"study.trials={TRIALS}", "study.name=other", target=child.main)
    assert lasting(list(again.rows)) == lasting(list(first.rows)), "another study takes its runs as they are"
