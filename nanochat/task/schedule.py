"""`task=schedule`: work on studies by the clock, in windows. What a schedule is stands in conf/schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from nanochat.core.compose import CONF, compose, groups, parse_overrides, with_sweeps
from nanochat.core.errors import Problem, SpecError, nearest, spec_error
from nanochat.core.spec import dump, option_of
from nanochat.run.spec import RunSpec, Settings, run_spec
from nanochat.run.spec import settings as settings_of
from nanochat.schedule import gpus
from nanochat.schedule.files import read_schedules
from nanochat.schedule.service import Plan, Service
from nanochat.schedule.spec import ScheduleSpec
from nanochat.schedule.study import study_command
from nanochat.schedule.table import schedules_table
from nanochat.study.compare import open_study
from nanochat.study.definition import differences
from nanochat.task.base import TaskSpec, validate
from nanochat.task.train import TrainSpec


class ScheduleTaskSpec(TaskSpec):
    """folder: of the schedule files, None: conf/schedule · once: name of one whose window is run now, in the
    foreground · list: only show what there is.
    """

    folder: str | None
    once: str | None
    list: bool

    def prepare(self, run: RunSpec) -> RunSpec:
        """The run as it is: none is carried out."""
        return run

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        _refuse_overrides(run, settings)
        folder = Path(self.folder).expanduser().absolute() if self.folder else CONF / "schedule"
        specs = checked_schedules(folder)
        if self.once is not None and self.once not in specs:
            raise spec_error("task.once", self.once, "there is no such schedule", nearest(self.once, specs))
        paths = {name: str(Path(path).expanduser().absolute()) for name, path in settings.paths}
        plans = {
            name: Plan(name, spec, spec.trigger(), study_command(spec.words, paths=paths))
            for name, spec in specs.items()
        }
        service = Service(plans, folder=settings.paths.root / "schedule")
        if self.once is not None:
            return service.once(self.once)
        Console(highlight=False).print(schedules_table(plans, service.state.read()))
        if self.list:
            return 0
        if not any(spec.enabled for spec in specs.values()):
            raise spec_error("task", "schedule", f"every schedule in {folder} is off", "set enabled: true in one")
        return service.run()


def checked_schedules(folder: Path) -> dict[str, ScheduleSpec]:
    """The schedules of a folder. Raises `SpecError` with every problem of every file: nothing starts before."""
    specs, problems = read_schedules(folder)
    for name, spec in specs.items():
        try:
            check(spec)
        except SpecError as error:
            problems.extend(error.under(f"schedule.{name}").problems)
    if problems:
        raise SpecError(problems)
    return specs


def check(spec: ScheduleSpec) -> None:
    """Raises `SpecError` where the study could not begin: what its command would say, said now."""
    problems: list[Problem] = []
    for part in (_check_study, _check_gpus):
        try:
            part(spec)
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)


def _check_study(spec: ScheduleSpec) -> None:
    known = groups()["experiment"]
    if spec.experiment is not None and spec.experiment not in known:
        raise spec_error("experiment", spec.experiment, "no such experiment", nearest(spec.experiment, known))
    try:
        typed = with_sweeps(spec.words)
        config = compose([override.text for override in parse_overrides(typed) if override.sweep is None])
        task = validate(config)[2]
        if not isinstance(task, TrainSpec):
            raise spec_error("task", option_of(task), "a schedule works on studies, by task=train", "leave it out")
        open_study(config, typed)
    except SpecError as error:
        raise error.under("overrides") from error


def _check_gpus(spec: ScheduleSpec) -> None:
    if spec.enabled and spec.idle_gpus:
        gpus.busy()


def _refuse_overrides(run: RunSpec, settings: Settings) -> None:
    """Overrides beside `task=schedule` reach no study, but for paths: better said than left out without a word."""
    config = compose([])
    here = {**_fields(run), **_fields(settings)}
    plain = {**_fields(run_spec(config)), **_fields(settings_of(config))}
    found = [key for key, *_ in differences(plain, here) if not key.startswith("paths.")]
    if found:
        rule = "does not apply to task=schedule, whose studies are described in files"
        remedy = "move it to `overrides` in the schedule's file"
        raise SpecError([Problem(key=key, rule=rule, remedy=remedy) for key in found])


def _fields(spec: RunSpec | Settings) -> Mapping[str, object]:
    return dump(spec)
