"""The contract of a task."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from nanochat.core.errors import Problem, SpecError, spec_error
from nanochat.core.spec import Spec, load, option_of
from nanochat.pruner.base import PrunerSpec
from nanochat.run.spec import RunSpec, Settings, run_spec, settings
from nanochat.sampler.base import SamplerSpec
from nanochat.study.compare import CompareSpec, Study

T = TypeVar("T")


class TaskSpec(Spec):
    """Something that `run.py` does with the run that the command line describes."""

    def prepare(self, run: RunSpec) -> RunSpec:
        """The run as `perform` wants it: resolved, but where its size is yet to be chosen."""
        return run.resolve()

    @abstractmethod
    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        """Do it with a prepared run; returns the exit code."""

    def survey(self, study: Study) -> int:
        """Do it, without training, with every arm of the study that `-m` describes; returns the exit code."""
        raise spec_error("task", option_of(self), "does nothing with -m", "leave -m out, or use task=train")


class StudyTaskSpec(TaskSpec):
    """Something that `run.py` does with studies that are there already, not with a run."""

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        raise NotImplementedError("attends to studies")

    @abstractmethod
    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        """Do it, by a whole composed config and the overrides that made it; returns the exit code."""


def perform(config: Mapping[str, Any], words: Sequence[str]) -> int:
    """Validate a composed config, made by the overrides `words`, and hand it to its task; returns the exit code."""
    run, how, task = validate(config)
    if isinstance(task, StudyTaskSpec):
        return task.attend(config, words)
    return task.perform(task.prepare(run), settings=how)


def validate(config: Mapping[str, Any]) -> tuple[RunSpec, Settings, TaskSpec]:
    """The Specs of a whole config. Raises `SpecError` with every problem in any of its sections."""
    about_study = {"study": CompareSpec, "sampler": SamplerSpec, "pruner": PrunerSpec}
    known = {*RunSpec.model_fields, *Settings.model_fields, "task", *about_study}
    top = "known at the top level: " + ", ".join(sorted(known))
    problems = [Problem(key=key, rule="no such key", remedy=top) for key in config if key not in known]
    run = _collect(problems, lambda: run_spec(config))
    how = _collect(problems, lambda: settings(config))
    task = _collect(problems, lambda: load(config.get("task", {}), TaskSpec, at="task"))
    for section, base in about_study.items():
        _collect(problems, functools.partial(load, config.get(section, {}), base, at=section))
    if run is None or how is None or task is None or problems:
        raise SpecError(problems)
    return run, how, task


def _collect(problems: list[Problem], made: Callable[[], T]) -> T | None:
    """What `made` returns, or None with its problems noted."""
    try:
        return made()
    except SpecError as error:
        problems.extend(error.problems)
        return None
