"""Which record of a law a command means: a file that it names, or the one of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.core.errors import spec_error
from nanochat.law.recorded import Record, chosen, read_all
from nanochat.run.spec import settings

# In a study's folder of the lab notebook.
FILE = "law.json"


def record_file(config: Mapping[str, Any], law: str | None) -> Path:
    """`law`, or `<paths.experiments>/<study.name>/law.json`. Raises `SpecError` where neither is told."""
    if law is not None:
        return Path(law).expanduser()
    name = config["study"].get("name")
    if name is None:
        rule, remedy = "is needed: which law?", "name a file that task=law wrote, or a study by study.name"
        raise spec_error("task.law", None, rule, remedy)
    return Path(settings(config).paths.experiments).expanduser() / str(name) / FILE


def record_of(config: Mapping[str, Any], law: str | None, *, arm: str | None) -> Record:
    """The record in that file, of `arm` where it has several."""
    return chosen(read_all(record_file(config, law)), arm)
