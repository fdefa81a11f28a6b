"""Small real runs for tests: a nano model on a synthetic corpus, a few hundred tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanochat.core.compose import compose
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings, run_spec, settings
from nanochat.trainer.control import Control, Silent

# A corpus of 30 kB and a run of 8 steps: under a second of training.
SMALL = (
    "trainer=cpu",
    "trainer.threads=1",
    "data=synthetic",
    "data.count=200",
    "data.length=16",
    "data.vocabulary=50",
    "context=32",
    "batch.tokens=256",
    "stop.tokens=null",
    "stop.steps=8",
    "eval.valid_bytes=500",
    "eval.test_bytes=1000",
    "eval.evaluations=2",
    "model.dim=32",
)


def small(folder: Path, *overrides: str, base: Sequence[str] = SMALL) -> tuple[RunSpec, Settings]:
    """The resolved Spec of a small run, and Settings that keep everything under `folder`."""
    config = small_config(folder, *overrides, base=base)
    return run_spec(config).resolve(), settings(config)


def small_config(folder: Path, *overrides: str, base: Sequence[str] = SMALL) -> dict[str, Any]:
    """The composed config of a small run."""
    paths = (f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments")
    return compose([*base, *paths, *overrides])


def run_small(folder: Path, *overrides: str, control: Control | None = None) -> tuple[dict[str, Any], RunFolder]:
    """Run a small run; returns its result and its folder."""
    spec, how = small(folder, *overrides)
    result = execute(spec, settings=how, control=control or Silent())
    return result, RunFolder(how.paths.runs / result["key"])
