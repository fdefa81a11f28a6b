"""`task=coordinate_check` as people use it: µP passes, the standard parametrisation fails, both on one page each."""

from __future__ import annotations

import json

import pytest

from tests.e2e.test_study import Page

CHECK = (
    "task=coordinate_check",
    "model=nano",
    "task.widths=[64,256]",
    "task.seeds=4",
    "task.steps=3",
    "lr.peak=0.01",
)
ACTIVATIONS = [
    "embedding",
    *(f"block {layer} {branch}" for layer in (0, 1) for branch in ("attention", "ffn")),
    "stream",
    "logits",
]


def test_mup_passes_and_the_standard_parametrisation_fails(program, tmp_path):
    folder = tmp_path / "multirun" / "coordinate_check"

    held = program(*CHECK, "init=mup", "model.tied=false", "task.name=mup")
    found = json.loads((folder / "mup.json").read_text())
    assert held.code == 0
    assert "µP holds: " in held.out
    assert found["holds"] and list(found["activations"]) == ACTIVATIONS
    assert all(part["verdict"] == "flat" for part in found["activations"].values())
    assert found["activations"]["logits"]["slopes"][0] is None  # the head starts at zero

    failed = program(*CHECK, "init=truncated_normal", "model.tied=false", "task.name=standard")
    found = json.loads((folder / "standard.json").read_text())
    assert failed.code == 0
    assert "µP does not hold: " in failed.out
    assert not found["holds"]
    stream = found["activations"]["stream"]
    assert abs(stream["slopes"][0]) < 0.2 and stream["slopes"][3] > 0.5  # right at the start, not after updates
    assert stream["verdict"] == "grows" and found["activations"]["embedding"]["verdict"] == "shrinks"

    for said, name in ((held, "mup"), (failed, "standard")):
        lines = [line for line in said.out.splitlines() if not line.startswith("page: ")]
        assert max(map(len, lines)) <= 80
        assert f"page: {folder / name}.html" in said.out
        page = Page()
        page.feed((folder / f"{name}.html").read_text())
        assert page.fetched == []
        assert page.figures == 4
        assert {*ACTIVATIONS, "grows" if name == "standard" else "flat"} <= set(page.cells)
    assert not (tmp_path / "multirun" / "runs").exists()


def test_two_commands_have_files_of_their_own(program, tmp_path):
    little = (*CHECK, "task.widths=[32,64]", "task.seeds=1", "task.steps=1", "batch.tokens=64")
    for init in ("xavier", "gpt2", "gpt2"):
        assert program(*little, f"init={init}").code == 0
    pages = sorted(path.stem for path in (tmp_path / "multirun" / "coordinate_check").glob("*.html"))
    assert [page.rpartition("_")[0] for page in pages] == ["gpt2_adamw", "xavier_adamw"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.widths=[64]"], "must be two or more different widths; try [64,128,256]"),
        (["task.widths=[64,64]"], "task.widths="),
        (["task.widths=[64,66]"], "attention.heads=4: must divide dim=66"),
        (["task.steps=0"], "task.steps=0"),
        (["task.tolerance=0"], "task.tolerance=0"),
        (["init=mup", "model.tied=true"], "needs a head of its own; use model.tied=false"),
        (["seed=1,2", "-m"], "task=coordinate_check: does nothing with -m"),
    ],
)
def test_what_it_refuses(program, words, message):
    said = program(*CHECK, *words)
    assert said.code == 2
    assert message in said.err
