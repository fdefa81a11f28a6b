"""The contract of a task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from nanochat.core.errors import spec_error
from nanochat.core.spec import Spec, load
from nanochat.run.spec import RunSpec, Settings, run_spec, settings
from nanochat.study.compare import CompareSpec


class TaskSpec(Spec):
    """Something that `run.py` does with the run that the command line describes."""

    @abstractmethod
    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        """Do it with a resolved run; returns the exit code."""


def perform(config: Mapping[str, Any]) -> int:
    """Validate a composed config and hand it to its task; returns the exit code."""
    run, how, task = validate(config)
    return task.perform(run.resolve(), settings=how)


def validate(config: Mapping[str, Any]) -> tuple[RunSpec, Settings, TaskSpec]:
    """The Specs of a whole config. Raises `SpecError` with every problem in any of its sections."""
    known = {*RunSpec.model_fields, *Settings.model_fields, "task", "study"}
    for key in config:
        if key not in known:
            raise spec_error(key, None, "no such key", "known at the top level: " + ", ".join(sorted(known)))
    load(config["study"], CompareSpec, at="study")
    return run_spec(config), settings(config), load(config["task"], TaskSpec, at="task")
