"""Real studies, trained through run.py, for all tests of reports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import run
from tests.report import laws
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


# Rates at one size, then three sizes at three levels of compute.
SCALED = (
    "study=scaling",
    'study.sizes={s: ["model.dim=8"], m: ["model.dim=16"], l: ["model.dim=24"]}',
    "model.depth=1",
    "study.flops=4e9",
    "study.levels=3",
    "study.breadth=3",
    "study.steps=8",
    "study.tuned=1",
    "study.trials=3",
    "study.slots=2",
    "lr=wsd",
    "lr.warmup=2",
    "lr.peak=1e-2",
    "study.name=scaled",
)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds its `multirun` and `experiments`, trained once for all processes of the tests, which only
    read it."""
    return _once(tmp_path_factory, "real", _train)


@pytest.fixture(scope="session")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scaling study likewise."""
    return _once(tmp_path_factory, "scaled", _scale)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scaling study of two arms whose losses are those of known laws, reported likewise."""
    return _once(tmp_path_factory, "made", _make)


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "trained").exists():
            folder.mkdir()
            make(folder)
            (folder / "trained").touch()
    return folder


def _scale(folder: Path) -> None:
    base = [word for word in SMALL if not word.startswith(("model", "stop"))]
    program(folder, *base, *SCALED, "-m")


def _make(folder: Path) -> None:
    what = laws.definition(folder)
    laws.noted(folder, what, laws.rows(what), entropy=1.0)
    (folder / "said.txt").write_text(program(folder, "task=report", "study.name=made"))


def program(folder: Path, *words: str) -> str:
    """`python run.py WORDS` in a process of its own: here every call of a law is checked, and fits take minutes."""
    paths = [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    command = [sys.executable, str(Path(run.__file__)), *paths, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _train(folder: Path) -> None:
    base = [word for word in SMALL if not word.startswith("model.dim")]
    paths = [f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["run.py", *base, *paths, *TRAINED, "-m"])
        assert run.main() == 0
