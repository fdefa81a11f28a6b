"""Small studies for tests, opened as the command line opens them."""

from __future__ import annotations

from pathlib import Path

from nanochat.core.compose import parse_overrides
from nanochat.study.compare import Study, open_study
from nanochat.study.pool import Target
from nanochat.study.table import Row
from nanochat.study.work import Outcome, work_on
from tests.runs import SMALL, small_config


def command(folder: Path, *overrides: str) -> list[str]:
    """The overrides of a `-m` command that keeps everything under `folder`."""
    paths = (f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments")
    return [*SMALL, *paths, "study.slots=2", *overrides]


def open_small(folder: Path, *overrides: str) -> Study:
    typed = command(folder, *overrides)
    fixed = [override.text for override in parse_overrides(typed) if override.sweep is None]
    return open_study(small_config(folder, *fixed), typed)


def run_study(folder: Path, *overrides: str, target: Target) -> Outcome:
    """Open a small study and work on it."""
    return work_on(open_small(folder, *overrides), target=target)


def lasting(rows: list[Row]) -> list[Row]:
    """The rows without the one column that is never the same twice."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
