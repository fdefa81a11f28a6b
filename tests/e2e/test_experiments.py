"""Every experiment that is shipped composes into a study, and each of its arms trains, at a fraction of its size."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from nanochat.core.compose import CONF, compose
from nanochat.run.execute import execute
from nanochat.run.spec import settings
from nanochat.study.compare import open_study
from nanochat.trainer.control import Silent

NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))

# What makes it small; what the experiment asks (its arms, its axes) stays.
SMOKE = (
    "trainer=cpu",
    "trainer.threads=1",
    "context=64",
    "batch.tokens=128",
    "stop.tokens=null",
    "stop.steps=2",
    "model.depth=2",
    "model.dim=64",
    "eval.evaluations=1",
    "eval.valid_bytes=500",
    "eval.test_bytes=500",
    "study.trials=1",
)
SYNTHETIC = ("data=synthetic", "data.count=200", "data.length=16", "data.vocabulary=50")

# A scaling study chooses sizes and lengths itself.
LAWS = ("isoflop", "isoflop_entropy")
CHOSEN = ("stop.", "model.")
LAW = ("study.flops=1e12", "study.steps=8", "study.levels=2", "study.breadth=3", "lr.warmup=2", "eval.overlap=null")
CORPUS = {
    "hn_titles": ("data.path=titles.txt", "tokenizer.vocab_size=300", "model.dim=256"),
    "linear_attention": (*SYNTHETIC, "model.depth=4"),
    "overfit_3k": (),
}


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs_at_smoke_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    lines = [f"{'what a title may say '[i % 7 :]}{i} {i * i}" for i in range(400)]
    (tmp_path / "titles.txt").write_text("\n".join(lines))
    written = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())
    brought = written.get("hydra", {}).get("sweeper", {}).get("params", {})
    one_size = ["study.scales=null"] if "scales" in written["study"] else []
    smoke = (*(word for word in SMOKE if not word.startswith(CHOSEN)), *LAW) if name in LAWS else SMOKE
    words = [f"experiment={name}", *smoke, *CORPUS.get(name, SYNTHETIC), *one_size]
    words += [f"paths.multirun={tmp_path}/multirun", f"paths.experiments={tmp_path}/experiments"]
    config = compose(words)
    study = open_study(config, [*(f"{key}={value}" for key, value in brought.items()), *words])
    arms = study.definition.arms
    assert len(arms) >= 2
    assert len(study.definition.seeds) >= 2 or name in LAWS
    few = {"stop.tokens": 8 * 128} if name in LAWS else {}
    keys = set()
    for arm in arms:
        spec = study.runs.spec(arm, params={**study.definition.first[arm.name], **few}, seed=study.definition.seeds[0])
        result = execute(spec, settings=settings(config), control=Silent())
        assert result["status"] == "complete" and math.isfinite(result["test"]["bpb"]), result["reason"]
        keys.add(result["key"])
    assert len(keys) == len(arms), "two arms are one and the same run"
