"""The command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import run
from tests.runs import SMALL


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def program(monkeypatch, capsys, tmp_path):
    """`python run.py WORDS` in this process, its files under `tmp_path`: seconds faster than a process of its own."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)

    def call(*words: str, base: Sequence[str] = SMALL, multirun: Path | None = None) -> Said:
        paths = (f"paths.multirun={multirun or tmp_path / 'multirun'}", f"paths.experiments={tmp_path}/experiments")
        monkeypatch.setattr(sys, "argv", ["run.py", *base, *paths, *words])
        capsys.readouterr()
        code = run.main()
        return Said(code, *capsys.readouterr())

    return call
