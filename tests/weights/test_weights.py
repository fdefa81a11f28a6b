"""`task=weights` as people use it: trained, examined, read on a page; refused where there is nothing to examine."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanochat.core.artifact import write_json
from nanochat.report.weights import write_page
from nanochat.weights.examine import costs, examine
from nanochat.weights.sample import Sample
from tests.pages import DESKTOP, PHONE, needs_chromium, opened
from tests.run.test_training import StopAt
from tests.runs import run_small
from tests.weights.samples import same, sample, state

WEIGHTS = ("task=weights", "task.bytes=100", "task.shares=[0.5]")
ARMS = {
    "gqa and swiglu": ("attention=gqa", "ffn=swiglu"),
    "mla and moe": ("attention=mla", "ffn=moe", "ffn.shared=1", "ffn.experts=2", "eval.evaluations=1"),
    "a hybrid and relu²": ("attention=hybrid", "attention.pattern=[a,b]", "ffn=mlp", "ffn.activation=relu2"),
}


def found_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "weights.json").read_text())


@pytest.mark.parametrize("arm", ARMS)
def test_a_trained_run_is_examined(program, tmp_path, arm):
    assert program(*ARMS[arm]).code == 0
    [run] = (tmp_path / "multirun" / "runs").iterdir()
    files = {path: path.read_bytes() for path in run.iterdir()}
    said = program(*ARMS[arm], *WEIGHTS)
    assert said.code == 0
    folder = tmp_path / "multirun" / "weights" / run.name
    assert sorted(path.name for path in folder.iterdir()) == ["weights.html", "weights.json"]
    assert {path: path.read_bytes() for path in run.iterdir()} == files
    lines = said.out.splitlines()
    assert lines[-1] == f"page: {folder / 'weights.html'}"
    assert max(map(len, lines[:-1])) <= 80

    found = found_in(folder)
    assert " ".join(found["verdict"]) in " ".join(line.strip() for line in lines)
    assert found["run"] == run.name and found["sample"]["split"] == "valid" and found["sample"]["bytes"] >= 100
    names = set(found["effects"])
    assert {f"block {i} {part}" for i in (0, 1) for part in ("attention", "ffn", "head 0", "head 1")} <= names
    assert ("block 1 expert 1" in names) == ("block 0 shared expert" in names) == (arm == "mla and moe")
    assert all(math.isfinite(effect["rise_bpb"]) for effect in found["effects"].values())
    for rule in ("magnitude", "random"):
        (none, whole), *further = found["pruning"]["curves"][rule]
        assert (none, whole) == (0, found["bpb"])
        assert {0.5} <= {share for share, _ in further}
    for matrix in found["matrices"].values():
        assert 1 <= matrix["trained"]["effective_rank"] <= min(matrix["shape"]) + 1e-9
        assert matrix["trained"]["singular_values"] != matrix["initial"]["singular_values"]
    assert sum(units["hidden"] for units in found["units"].values()) > 0

    if arm == "gqa and swiglu":  # again, of another command line, elsewhere: the same numbers
        again = program("seed=99", *WEIGHTS, f"task.run={run.name}", f"task.out={tmp_path}/elsewhere")
        assert again.code == 0
        assert (tmp_path / "elsewhere" / "weights.json").read_bytes() == (folder / "weights.json").read_bytes()
    if arm == "mla and moe":
        read(folder / "weights.html", figures=7)


def read(page: Path, *, figures: int) -> None:
    """Open the page as visitors do."""
    if needs_chromium.args[0]:
        return
    with opened(page, size=DESKTOP) as found:
        assert found.figures == figures
        assert found.page.locator(".verdict p").count() == 6
        assert "smallest first,0," in found.download(0)
        for width, height in (DESKTOP, PHONE):
            found.page.set_viewport_size({"width": width, "height": height})
            found.page.wait_for_timeout(200)
            assert (found.errors, found.requested, found.overflow) == ([], [], 0)


def test_the_model_is_afterwards_what_it_was(corpus):
    found = sample(corpus, "attention=mla", "ffn=moe", "ffn.experts=4", bytes=100)
    before, steps = state(found), []
    examine(found, run="a", fractions=[0.5, 0.25], seed=1, step=lambda: steps.append(None))
    assert same(state(found), before)
    assert not any(parameter.grad is not None for parameter in found.model.parameters())
    assert len(steps) <= len(costs(found, fractions=[0.5, 0.25])) <= len(steps) + 8


def test_what_breaks_the_model_is_said_to(corpus, tmp_path):
    """Numbers that are not finite are null in the JSON, left out of figures, and words on the page."""
    found = examine(sample(corpus, "model.depth=1", bytes=100), run="a", fractions=[0.5], seed=1, step=lambda: None)
    broken = replace(
        found,
        effects=(replace(found.effects[0], rise=math.nan, error=math.nan), *found.effects[1:]),
        curves={**found.curves, "magnitude": [(0.0, found.bpb), (0.5, math.inf)]},
    )
    write_json(tmp_path / "weights.json", broken.plain())
    write_page(broken, tmp_path / "weights.html")
    plain = found_in(tmp_path)
    assert plain["effects"]["block 0 attention"]["rise_bpb"] is None
    assert plain["pruning"]["curves"]["magnitude"][1] == [0.5, None]
    assert "The branch missed most is block 0 attention (breaks it), least" in plain["verdict"][1]
    assert plain["verdict"][0].startswith("0% of the weights")


def test_ctrl_c_leaves_nothing(program, tmp_path, monkeypatch):
    assert program().code == 0
    score, count = Sample.score, []

    def interrupted(self: Sample) -> Any:
        count.append(None)
        if len(count) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return score(self)

    monkeypatch.setattr(Sample, "score", interrupted)
    assert program(*WEIGHTS).code == 130
    assert len(count) == 4
    assert not list(tmp_path.glob("multirun/weights/**/*"))


def test_what_it_refuses(program, tmp_path):
    missing = program(*WEIGHTS)
    assert missing.code == 2
    assert "is no complete run here; train it first" in missing.err
    nowhere = program(*WEIGHTS, "task.run=beef")
    assert nowhere.code == 2 and "task.run=beef: is no complete run here" in nowhere.err
    for word in ("task.shares=[0.5,0.5]", "task.shares=[0]"):
        refused = program("task=weights", word)
        assert refused.code == 2 and "must be one or more different shares above 0" in refused.err

    stopped, folder = run_small(tmp_path, control=StopAt(512))
    assert stopped["status"] == "stopped"
    said = program("task=weights", f"task.run={folder.key}")
    assert said.code == 2
    assert f"task.run={folder.key}: is stopped (at 512 tokens), and only a complete run" in said.err
    words = ("lr.peak=1e30", "lr.warmup=0.0", "grad_clip=null")
    diverged, folder = run_small(tmp_path, *words)
    assert diverged["status"] == "diverged"
    said = program("task=weights", *words)
    assert said.code == 2 and "is diverged (" in said.err
    assert not (tmp_path / "multirun" / "weights").exists()
