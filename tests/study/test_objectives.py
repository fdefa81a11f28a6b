"""Several objectives: what can minimise them, the trade-offs that people see, and what is confirmed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nanochat.core.errors import SpecError
from nanochat.core.spec import dump
from nanochat.report.frame import Frame
from nanochat.report.terminal import front_table
from nanochat.study.budget import Budget
from nanochat.study.table import read_csv, trade_offs
from nanochat.study.trial import Trial
from tests.property.test_suggest import SAMPLERS, sampler
from tests.study import targets
from tests.study.definitions import definition
from tests.study.stores import finish, seen, working
from tests.study.studies import open_small, run_study

BOTH = "study.objectives=[bpb, state_bytes]"
RANK = "attention.kv_lora_rank=int(interval(4, 32))"


def costly(trial: Trial):
    """The lower the rate the better, and the dearer."""
    peak = trial.params["lr.peak"]
    return {"status": "complete", "reason": ""}, (peak, 1 / peak)[: 2 if trial.phase == "tune" else 1]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if sampler(name).several])
def test_samplers_of_several_objectives_are_deterministic_and_the_first_decides(tmp_path: Path, name: str) -> None:
    study = replace(definition(arms=["mla"], sampler=dump(sampler(name))), objectives=("bpb", "flops"))
    tables = []
    for folder in ("a", "b"):
        with working(tmp_path / folder, study, budget=Budget(8)) as store:
            finish(store, costly)
            assert store.done()
            tables.append(seen(store))
            tuned = [t for t in store.trials() if t.phase == "tune"]
            assert all(t.values is not None and len(t.values) == 2 for t in tuned)
            lowest = min(t.params["lr.peak"] for t in tuned)
            assert {t.params["lr.peak"] for t in store.trials() if t.phase == "seed"} == {lowest}
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("sampler=cmaes", BOTH), "sampler=cmaes: minimises one objective, not 2; use sampler=nsga2 or tpe"),
        (("pruner=asha", BOTH), "pruner=asha: compares curves of one objective, not 2"),
        (("study.objectives=[bpb, bpb]",), "lists an objective twice"),
        (("study.objectives=[]",), "study.objectives"),
        (("study.objectives=[speed]",), "study.objectives"),
    ],
)
def test_what_cannot_serve_them_is_refused(tmp_path: Path, typed: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError) as error:
        open_small(tmp_path, "attention=mla", RANK, *typed)
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_trade_offs_are_what_no_run_beats_and_are_shown(tmp_path: Path, name: str) -> None:
    typed = ("attention=mla", RANK, "lr.peak=tag(log, interval(1e-3, 1e-1))", BOTH, f"sampler={name}")
    outcome = run_study(tmp_path, *typed, "seed=1,2", "study.trials=6", target=targets.reporting)
    assert outcome.complete
    rows = [row for row in outcome.rows if row["phase"] == "tune"]
    tuned = {f"{row['arm']} tune {row['number']}": (row["valid_bpb"], row["state_bytes"]) for row in rows}
    unbeaten = {
        label: point
        for label, point in tuned.items()
        if not any(a <= point[0] and b <= point[1] and (a, b) != point for a, b in tuned.values())
    }
    study = outcome.study.definition
    assert {point.label: point.values for point in trade_offs(study, outcome.rows)} == unbeaten
    assert trade_offs(study, read_csv(outcome.study.folder / "results.csv", study)) == trade_offs(study, outcome.rows)
    best = min(tuned.values())
    first = [r for r in rows if (r["valid_bpb"], r["state_bytes"]) == best]
    assert {r["lr.peak"] for r in outcome.rows if r["phase"] == "seed"} == {first[0]["lr.peak"]}

    console = Console(file=io.StringIO(), width=80)
    console.print(front_table(Frame(outcome.study.definition, outcome.rows)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "best trade-offs of bpb and state_bytes" in text
    assert all(label in text for label in unbeaten)
    assert max(map(len, text.splitlines())) <= 80
