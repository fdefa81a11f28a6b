"""Every experiment that is shipped runs to its verdict, every arm of it, at a fraction of its size."""

from __future__ import annotations

import csv

import pytest

from nanochat.core.compose import CONF

NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))

# What makes it small; what the experiment asks (its arms, its axes) stays.
SMOKE = (
    "trainer=cpu",
    "trainer.threads=1",
    "context=64",
    "batch.tokens=128",
    "stop.tokens=null",
    "stop.steps=2",
    "model.depth=4",
    "model.dim=64",
    "eval.evaluations=1",
    "eval.valid_bytes=500",
    "eval.test_bytes=500",
    "study.trials=1",
    "study.slots=2",
    "seed=1",
)


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_at_smoke_scale(program, tmp_path, name: str):
    lines = [f"{'what a title may say '[i % 7 :]}{i} {i * i}" for i in range(400)]
    (tmp_path / "titles.txt").write_text("\n".join(lines))
    corpus = ("data.path=titles.txt", "tokenizer.vocab_size=300") if name == "hn_titles" else ()
    if not corpus and name != "overfit_3k":
        corpus = ("data=synthetic", "data.count=200", "data.length=16", "data.vocabulary=50")
    said = program(f"experiment={name}", *SMOKE, *corpus, "-m", base=())
    assert said.code == 0, said.err
    rows = list(csv.DictReader((tmp_path / "multirun" / "studies" / name / "results.csv").open()))
    assert {row["status"] for row in rows} == {"complete"}, [row["reason"] for row in rows]
    plan = program(f"experiment={name}", *SMOKE, *corpus, "task=plan", "-m", base=())
    assert plan.code == 0
    arms = {row["arm"] for row in rows}
    assert len(arms) >= 2 and all(arm in plan.out for arm in arms)
