"""`task=export` as people use it: train, export, load with `transformers`; again, elsewhere, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.run.folder import RunFolder
from nanochat.run.trained import load_trained
from tests.runs import small

transformers: Any = pytest.importorskip("transformers")

DEEPSEEK = ("attention=mla", "ffn=hybrid", "ffn.parts.b.router=sigmoid", "ffn.parts.b.shared=1", "model.depth=2")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LlamaForCausalLM", ("attention=wgqa", "tokenizer=sentencepiece", "tokenizer.vocab_size=330")),
        ("MixtralForCausalLM", ("ffn=moe", "lr.peak=0.01")),
        ("DeepseekV3ForCausalLM", (*DEEPSEEK, "objective=mtp")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trained_model_is_the_same_in_transformers(program, tmp_path, name, words):
    assert program(*words).code == 0
    said = program(*words, "task=export", "task.folder=out")
    assert said.code == 0, said.err
    spec, how = small(tmp_path, *words)
    folder = tmp_path / "out"
    [run] = (tmp_path / "multirun" / "runs").iterdir()
    assert f"run {run.name} is {name} in {folder}" in said.out
    assert "checked: largest difference of a logit" in said.out
    assert "tokenizer: AutoTokenizer loads it from the same folder" in said.out

    found: dict[str, Any] = {}
    exec("\n".join(said.out.splitlines()[-2:]), found)
    theirs = found["model"].eval()
    assert type(theirs).__name__ == name
    ours = load_trained(RunFolder(run), settings=how)
    assert ours.spec == spec
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("abc de fgh ab", return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == [ours.tokenizer.bos, *ours.tokenizer.encode("abc de fgh ab").tolist()]
    with torch.no_grad():
        torch.testing.assert_close(ours.model(ids).logits, theirs(ids).logits, rtol=0, atol=1e-5)


def test_a_folder_is_written_over_by_its_own_run_alone(program, tmp_path):
    assert program("task=export").err.startswith("task.run=")
    assert not (tmp_path / "exported").exists()
    assert program().code == 0
    assert program("task=export").code == 0
    [run] = (tmp_path / "multirun" / "runs").iterdir()
    first = contents(tmp_path / "exported")
    assert json.loads(first["nanochat.json"])["run"] == run.name
    assert sorted([*json.loads(first["nanochat.json"])["files"], "nanochat.json"]) == sorted(first)

    (tmp_path / "exported" / "config.json").write_text("damaged")
    (tmp_path / "exported" / "notes.txt").write_text("mine")
    by_key = program("seed=99", "task=export", f"task.run={run.name}")
    assert by_key.code == 0
    assert contents(tmp_path / "exported") == {**first, "notes.txt": b"mine"}

    assert program("seed=2").code == 0
    other = program("seed=2", "task=export")
    assert other.code == 2
    assert f"holds run {run.name}, not " in other.err
    assert contents(tmp_path / "exported") == {**first, "notes.txt": b"mine"}

    foreign = program("task=export", "task.folder=multirun")
    assert foreign.code == 2
    assert "holds something else already (cache, runs); choose another folder" in foreign.err
    (tmp_path / "file").write_text("")
    assert "is a file; choose another folder" in program("task=export", "task.folder=file").err
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_model_that_transformers_has_not_is_refused_in_plain_lines(program, tmp_path):
    words = ("ffn=mlp", "model.residual_scalars=true", "position=none")
    assert program(*words).code == 0
    said = program(*words, "task=export")
    assert said.code == 2
    assert [line.partition("=")[0] for line in said.err.splitlines()] == ["ffn", "model.residual_scalars", "position"]
    assert not (tmp_path / "exported").exists()


def test_without_transformers_it_says_that_nothing_was_checked(program, monkeypatch):
    assert program().code == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = program("task=export")
    assert said.code == 0
    assert "not checked: transformers is not installed here" in said.out
