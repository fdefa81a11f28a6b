"""The schedule files of a folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from nanochat.core.errors import Problem, SpecError, spec_error
from nanochat.core.spec import load
from nanochat.schedule.spec import ScheduleSpec


def read_schedules(folder: Path) -> tuple[dict[str, ScheduleSpec], list[Problem]]:
    """The schedules by name, the name being the file's, and what is wrong with the others.

    Raises `SpecError` where there is no file at all.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise spec_error("task.folder", folder, "holds no schedule, a file NAME.yaml", "see conf/schedule/nightly.yaml")
    found: dict[str, ScheduleSpec] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            found[path.stem] = load(_plain(path), ScheduleSpec, at=f"schedule.{path.stem}")
        except SpecError as error:
            problems.extend(error.problems)
    return found, problems


def _plain(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise spec_error(f"schedule.{path.stem}", None, f"{path} cannot be read ({reason})") from error
