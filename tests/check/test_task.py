"""`python run.py task=check`: what it prints, what it returns, and that it leaves nothing behind."""

from __future__ import annotations

from tests.check.checks import plant
from tests.e2e.conftest import program

__all__ = ["program"]


def test_a_run_without_mistakes(program, tmp_path):
    said = program("task=check")
    assert said.code == 0
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[:4]] == ["✓"] * 4
    assert lines[-1] == "every check passed"
    assert "tried on 4 sequences of 32 tokens" in said.out
    assert [path.name for path in (tmp_path / "multirun").iterdir()] == ["cache"]


def test_a_component_of_ones_own_with_a_mistake(program, tmp_path, monkeypatch):
    plant(tmp_path, monkeypatch)
    said = program("task=check", "objective._target_=planted_parts.OwnInputSpec")
    assert said.code == 1
    assert max(map(len, said.out.splitlines())) <= 80
    assert "✗  target alignment" in said.out and said.out.count("✗") == 2
    words = " ".join(said.out.split())
    assert "✗ target alignment: input and target are misaligned: position t is asked for token t" in words
    assert "–  loss at step 0      to be judged once 'target alignment' is right" in said.out
    assert "every check passed" not in said.out
