"""One real study, trained through run.py, for all tests of reports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that holds its `multirun` and `experiments`."""
    folder = tmp_path_factory.mktemp("real")
    base = [word for word in SMALL if not word.startswith("model.dim")]
    paths = [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["run.py", *base, *paths, *TRAINED, "-m"])
        assert run.main() == 0
    yield folder
