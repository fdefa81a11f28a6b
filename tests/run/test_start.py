"""A run that begins from another one is, to the last bit, the run that was trained from scratch."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nanochat.core.errors import SpecError
from nanochat.eval.record import read_record
from nanochat.logger.csv import read
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.trainer.control import Silent
from tests.e2e.conftest import program
from tests.run.test_training import StopAt
from tests.runs import SMALL, run_small, small

__all__ = ["program"]

# Two steps of warm-up; of a run of 7, the rate decays from step 2 + 0.8·5 = 6 on, of one of 12 from step 10.
WSD = ("lr=wsd", "lr.warmup=2", "lr.peak=0.01", "eval.evaluations=3")
SHORT, LONG = "stop.steps=7", "stop.steps=12"
TOKENS = 256
TIMINGS = {"seconds", "tokens_per_second", "memory_mib"}

# Parts that carry a state from step to step, and draw noise.
KINDS = [
    (),
    ("optimizer=muon",),
    ("ffn=moe", "ffn.router=sigmoid", "model.dropout=0.1"),
]


def start(trunk: RunFolder, step: int) -> tuple[str, str]:
    return f"start.run={trunk.key}", f"start.tokens={step * TOKENS}"


def rows(folder: RunFolder, *, after: int) -> list[dict[str, Any]]:
    found = [row for row in read(folder.metrics_file) if row["step"] > after]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in found]


def assert_same(branch: RunFolder, whole: RunFolder, *, after: int) -> None:
    a, b = load_file(whole.model_file), load_file(branch.model_file)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert rows(branch, after=0) == rows(whole, after=after) != []
    assert read_record(branch.record_file).nats == read_record(whole.record_file).nats


@pytest.mark.parametrize("parts", KINDS, ids=" ".join)
def test_a_continued_run_is_the_whole_run_bit_for_bit(tmp_path, parts):
    """Continued from a shorter run, and that again, each of which decays otherwise; killed on the way, too."""
    _, trunk = run_small(tmp_path, *WSD, *parts, SHORT)
    assert trunk.milestones() == [6 * TOKENS] and not trunk.state_file.exists()
    words = (*WSD, *parts, LONG)
    expected, whole = run_small(tmp_path, *words)
    stopped, _ = run_small(tmp_path, *words, *start(trunk, 6), control=StopAt(8 * TOKENS))
    assert (stopped["status"], stopped["tokens"]) == ("stopped", 8 * TOKENS)
    found, branch = run_small(tmp_path, *words, *start(trunk, 6))
    assert found["key"] != expected["key"] and found["test"] == expected["test"]
    assert_same(branch, whole, after=6)
    # Of a run of 15 the rate decays from step 2 + 0.8·13 = 12 on: later than that of 12, whose state is at 10.
    longest = (*WSD, *parts, "stop.steps=15")
    _, whole = run_small(tmp_path, *longest)
    _, again = run_small(tmp_path, *longest, *start(branch, 10))
    assert_same(again, whole, after=10)


def test_what_it_says_of_its_size_and_cost(tmp_path):
    """Tokens, FLOPs and coverage are those of the model; what was spent, of these steps alone."""
    _, trunk = run_small(tmp_path, *WSD, SHORT)
    whole, _ = run_small(tmp_path, *WSD, LONG)
    found, branch = run_small(tmp_path, *WSD, LONG, *start(trunk, 6))
    for name in ("steps", "tokens", "flops", "flops_mfu", "coverage", "params", "non_embedding_params"):
        assert found[name] == whole[name]
    assert whole["flops_spent"] == whole["flops"]
    assert found["flops_spent"] == whole["flops"] / 2
    # What the trunk took is not counted again.
    assert read(branch.metrics_file)[0]["seconds"] < read(trunk.metrics_file)[-1]["seconds"]
    assert found["seconds"] == pytest.approx(read(branch.metrics_file)[-1]["seconds"], abs=1e-3)


def test_a_constant_rate_keeps_its_end(tmp_path):
    """One trunk without decay, and a branch that decays from its end; a validation is due there, of the trunk alone."""
    _, trunk = run_small(tmp_path, *WSD, "lr=constant", "stop.steps=6")
    assert trunk.milestones() == [6 * TOKENS]
    _, whole = run_small(tmp_path, *WSD, SHORT)
    _, branch = run_small(tmp_path, *WSD, SHORT, *start(trunk, 6))
    assert_same(branch, whole, after=6)
    assert branch.milestones() == []  # it begins where it would keep one


def test_a_continued_run_needs_its_trunk_only_to_begin(tmp_path):
    _, trunk = run_small(tmp_path, *WSD, SHORT)
    words = (*WSD, LONG, *start(trunk, 6))
    assert run_small(tmp_path, *words, control=StopAt(8 * TOKENS))[0]["status"] == "stopped"
    shutil.rmtree(trunk.path)
    first, branch = run_small(tmp_path, *words)
    assert first["status"] == "complete"
    assert run_small(tmp_path, *words)[0] == first
    branch.clear()
    assert branch.milestones() == []
    with pytest.raises(SpecError, match=rf"start\.run={trunk.key}: no such run is in .*runs; train it first"):
        run_small(tmp_path, *words)


def test_a_state_is_plain_data_and_kept_only_where_a_rate_is_constant(tmp_path):
    _, trunk = run_small(tmp_path, *WSD, SHORT)
    state = torch.load(trunk.milestone_file(6 * TOKENS), weights_only=True)
    assert state["global_step"] == 6 and state["optimizer_states"]
    _, cosine = run_small(tmp_path)
    assert cosine.milestones() == []


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> tuple[Path, RunFolder]:
    folder = tmp_path_factory.mktemp("trunk")
    return folder, run_small(folder, *WSD, SHORT)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=2"], r"seed=2: is 1 in run KEY, which this one continues; use seed=1"),
        (["grad_clip=null"], r"grad_clip=null: is 1\.0 in run KEY, .*; use grad_clip=1\.0"),
        (["batch.tokens=512"], r"batch\.tokens=512: is 256 in run KEY"),
        (["optimizer=muon"], r"optimizer=muon: is adamw in run KEY, .*; use optimizer=adamw"),
        (["model.depth=1", "ffn.hidden=32"], r"model\.depth=1: is [\s\S]*\nffn\.hidden=32: is "),
        (["data.seed=9"], r"data\.seed=9: is "),
        (["lr.factors.head=2"], r"lr\.factors\.head=2\.0: is 1\.0 in run KEY"),
        (["lr.peak=0.02"], r"lr\.peak=0\.02: is 0\.01 in run KEY, which this one continues; use lr\.peak=0\.01"),
        (["lr.warmup=3"], r"lr\.warmup=3: is 3 steps here and 2 in run KEY, .*; use lr\.warmup=2"),
        (["lr.warmup=0.25"], r"lr\.warmup=0\.25: is 3 steps here and 2 in run KEY, .*; use lr\.warmup=2"),
        (["lr=cosine"], r"lr=cosine: at step 3 the rate is 0\.00977\d+ here and 0\.01 in run KEY, .*; use lr=wsd"),
        (["start.tokens=1280"], r"start\.tokens=1280: run KEY kept no state there; try 1536"),
        (["start.tokens=1500"], r"start\.tokens=1500: must be a multiple of batch\.tokens=256; try 1280 or 1536"),
        (["start.tokens=3072"], r"start\.tokens=3072: must be less than the whole run's 3072, .*; let it stop later"),
        (["lr.decay=0.7"], r"start\.tokens=1536: is in the decay of this run's own rate, which begins after 1280 "),
        (["start.tokens=null"], r"start\.run=KEY: is given without start\.tokens; add start\.tokens=…"),
        (["start.run=null"], r"start\.tokens=1536: is given without start\.run; add start\.run=…"),
        (["start.run=0123456789abcdef"], r"start\.run=0123456789abcdef: no such run"),
        (["start.run=../x"], r"start\.run=\.\./x: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_that_is_no_continuation_is_refused_by_its_key(trunk, words, said):
    folder, run = trunk
    with pytest.raises(SpecError, match=said.replace("KEY", run.key)):
        run_small(folder, *WSD, LONG, *start(run, 6), *words)
    assert len(list(run.path.parent.glob("*/run.json"))) == 1


def test_a_trunk_that_cannot_be_trusted_is_refused(tmp_path, monkeypatch):
    _, trunk = run_small(tmp_path, *WSD, SHORT, control=StopAt(6 * TOKENS))
    words = (*WSD, LONG, *start(trunk, 6))
    with pytest.raises(SpecError, match=r"is stopped, not complete; finish it: python -m nanochat\.run .*run\.json"):
        run_small(tmp_path, *words)
    run_small(tmp_path, *WSD, SHORT)
    assert trunk.complete()
    with monkeypatch.context() as patch:
        patch.setattr("nanochat.run.trunk.changed_files", lambda then, now: ["model/block.py"])
        for rule in ("refuse", "rerun"):
            with pytest.raises(SpecError, match=r"was made by other code: model/block\.py; use code=accept"):
                run_small(tmp_path, *words, f"code={rule}")
        assert run_small(tmp_path, *words, "code=accept")[0]["status"] == "complete"
    _, plain = run_small(tmp_path)
    with pytest.raises(SpecError, match=r"start\.tokens=256: run .* kept no state there; it has none: .*lr=wsd"):
        run_small(tmp_path, "stop.steps=12", *start(plain, 1))


def test_a_run_that_diverged_keeps_nothing(tmp_path):
    wild = ("lr.peak=1e30", "lr.decay=0.9", "grad_clip=null", "lr.warmup=0.0")
    result, trunk = run_small(tmp_path, *WSD, *wild, "stop.steps=10")
    assert result["status"] == "diverged" and result["steps"] >= 1
    assert trunk.milestones() == []


def test_texts_that_changed_since_are_refused(tmp_path):
    path = tmp_path / "texts"
    path.mkdir()
    for number in range(40):
        (path / f"{number}.txt").write_text(f"the text number {number} of forty, " * 20)
    texts = ("data=text", f"data.path={path}/*.txt", "eval.evaluations=1")
    base = [word for word in SMALL if not word.startswith("data")]
    spec, how = small(tmp_path, *WSD, *texts, SHORT, base=base)
    key = execute(spec, settings=how, control=Silent())["key"]
    (path / "0.txt").write_text("another text")
    branch, _ = small(tmp_path, *WSD, *texts, LONG, f"start.run={key}", "start.tokens=1536", base=base)
    with pytest.raises(SpecError, match=r"data=text: its texts are no longer those that run .* was trained on"):
        execute(branch, settings=how, control=Silent())


def test_from_the_command_line(program, tmp_path):
    """What a complete run says is how to go on from it; the plan counts what is left, and refuses what cannot be."""
    first = program(*WSD, SHORT)
    [said] = [line for line in first.out.splitlines() if "go on from it" in line]
    where = said.partition(": ")[2].split()
    assert len(where) == 2 and where[1] == f"start.tokens={6 * TOKENS}"
    plan = program("task=plan", *WSD, LONG, *where)
    assert plan.code == 0 and max(map(len, plan.out.splitlines())) <= 80
    assert re.search(r"training tokens +3,072 in 12 steps of 256 *\n +done, in run \w{16} +1,536 *\n", plan.out)
    assert re.search(r"to be trained +1,536 in 6 steps *\n", plan.out) and "FLOPs to be spent" in plan.out
    for words in (["task=plan"], []):
        refused = program(*words, *WSD, LONG, *where, "seed=3")
        assert refused.code == 2 and refused.err.startswith("seed=3: is 1 in run ") and not refused.out
    # Keys that look like numbers to Hydra; that of the run lies in another folder.
    for key in ("1234567890123456", "12e4567890123456"):
        refused = program(*WSD, LONG, f"start.run={key}", where[1])
        assert refused.code == 2 and refused.err.startswith(f"start.run={key}: no such run is in {tmp_path}/multirun")
    longer = program(*WSD, LONG, *where)
    assert longer.code == 0 and f"start.tokens={10 * TOKENS}" in longer.out and "3,072 tokens" in longer.out
