"""Checking small runs, with components of ones own from a file outside the package."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from nanochat.check.base import Result
from nanochat.check.examine import examine
from nanochat.check.subject import Subject
from nanochat.run.spec import run_spec, settings
from tests.runs import small_config

PLANTED = Path(__file__).with_name("planted.py")
MODULE = "planted_parts"

ATTENTION = {"heads": 4}
FFN = {"hidden": 64}


def check(folder: Path, *overrides: str, **sections: dict[str, Any]) -> dict[str, Result]:
    """What the checks say of a small run, with whole sections of its config replaced."""
    config = {**small_config(folder, *overrides), **sections}
    return dict(examine(Subject.open(run_spec(config).resolve(), settings=settings(config))))


def failures(results: dict[str, Result]) -> dict[str, str]:
    """What failed, and how it was put."""
    return {name: result.found for name, result in results.items() if result.status == "failed"}


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the user's module where `_target_` finds it."""
    shutil.copy(PLANTED, folder / f"{MODULE}.py")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


def own(name: str, **fields: Any) -> dict[str, Any]:
    """The section of a component of the user's module."""
    return {"_target_": f"{MODULE}.{name}", **fields}
