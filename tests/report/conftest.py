"""One real study, trained through run.py, for all tests of reports."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import run
from tests.runs import SMALL

TRAINED = (
    "study=ablation",
    "attention=gqa,mla",
    "seed=1,2,3",
    'study.scales={small: ["model.dim=16"], large: ["model.dim=32"]}',
    "study.match.tolerance=0.5",
    "study.trials=2",
    "stop.steps=4",
    "model.depth=1",
    "study.slots=2",
    "study.name=real",
)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds its `multirun` and `experiments`, trained once for all processes of the tests, which only
    read it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real"
    with FileLock(f"{folder}.lock"):
        if not (folder / "trained").exists():
            folder.mkdir()
            _train(folder)
            (folder / "trained").touch()
    return folder


def _train(folder: Path) -> None:
    base = [word for word in SMALL if not word.startswith("model.dim")]
    paths = [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["run.py", *base, *paths, *TRAINED, "-m"])
        assert run.main() == 0
