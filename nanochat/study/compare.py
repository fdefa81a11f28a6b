"""`study=compare`: the Spec of a study, and the study that a command describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from nanochat.core.compose import forget_composed
from nanochat.core.errors import spec_error
from nanochat.core.gpu import gpus
from nanochat.core.spec import Count, Int, Positive, Spec, load
from nanochat.pruner.base import PrunerSpec
from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec, Settings, settings
from nanochat.sampler.base import SamplerSpec
from nanochat.study import table
from nanochat.study.axes import Arm, Axes, read_axes
from nanochat.study.budget import Budget, check_flops
from nanochat.study.definition import FILE, Definition, default_name, open_definition, read_definition
from nanochat.study.failures import PolicyText
from nanochat.study.judge import seeds_wanted
from nanochat.study.objectives import Objective, check_objectives, check_searches, tuning_trials
from nanochat.study.reading import Population, Reading
from nanochat.study.runs import Runs, define
from nanochat.study.slots import Slot, open_slots


class CompareSpec(Spec):
    """Arms compared on shared seeds, each tuned first where there is something to tune."""

    name: str | None
    dir: str | None
    trials: Count
    extend: Annotated[Int, Field(ge=0)]
    flops: Positive | None
    hours: Positive | None
    seed: Int
    tune_seed: Int
    lag: Count
    space: tuple[str, ...]
    arms: dict[str, tuple[str, ...]] | None
    exclude: tuple[dict[str, Any], ...]
    zip: tuple[tuple[str, ...], ...]
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]
    rope: Positive | None
    baseline: str | None
    generalise: Population
    looks: tuple[Int, ...]
    slots: Count | None
    gpus: tuple[Int, ...] | None
    per_gpu: Count | Literal["memory"]
    workers: Count
    on_failure: PolicyText
    most_lost: Count
    fail_fast: Count | None
    storage: str | None
    patience: Positive
    lease_seconds: Positive

    @property
    def budget(self) -> Budget:
        return Budget(trials=self.trials + self.extend, flops=self.flops, hours=self.hours)

    @property
    def reading(self) -> Reading:
        return Reading(rope=self.rope, baseline=self.baseline, generalise=self.generalise, looks=self.looks)

    def read(self, overrides: Sequence[str], *, seed: int) -> Axes:
        """The study's axes; `seed` is the config's own. Raises `SpecError` for what makes no study."""
        return read_axes(overrides, **self.typed, seed=seed)

    def beside(self, stored: Definition) -> Self:
        """The Spec as it is meant beside the study of its name that is there already."""
        return self

    def prepared(self, study: Study) -> Study:
        """The study with what has to be found out before it can be planned."""
        return study

    @property
    def typed(self) -> dict[str, Any]:
        """What of the axes is said here and not on the command line."""
        return {
            "arms": self.arms or {},
            "space": self.space,
            "tune_seed": self.tune_seed,
            "exclude": self.exclude,
            "zipped": self.zip,
        }


@dataclass(frozen=True)
class Study:
    """A study as one command sees it: what it is, and how this command works on it."""

    definition: Definition
    spec: CompareSpec
    settings: Settings
    runs: Runs
    folder: Path

    @property
    def notebook(self) -> Path:
        """The study's folder in the lab notebook."""
        return Path(self.settings.paths.experiments).expanduser().absolute() / self.definition.name

    def over(self, definition: Definition) -> Study:
        """The same work on the study that `definition` is."""
        return replace(self, definition=definition, runs=replace(self.runs, definition=definition))

    def open_slots(self) -> AbstractContextManager[list[Slot]]:
        """The places in which this command runs the study's runs."""
        device = self.definition.device
        return open_slots(
            device,
            count=self.spec.slots,
            gpus=self.spec.gpus,
            per_gpu=self.spec.per_gpu,
            devices=self.settings.devices,
            threads=self.definition.threads,
            memory=self.largest_memory,
            found=gpus() if device == "cuda" else [],
        )

    def tuning(self, arm: Arm) -> int:
        """Tuning trials of an arm."""
        sampler = load(self.definition.sampler, SamplerSpec, at="sampler")
        return tuning_trials(arm, sampler=sampler, trials=self.spec.budget.trials)

    @property
    def total(self) -> int:
        """Runs of the whole study."""
        return sum(self.tuning(arm) + self.seeds_wanted for arm in self.definition.arms)

    @property
    def seeds_wanted(self) -> int:
        """Confirming seeds of each arm: all, or those at which by the last table an early look found all decided."""
        definition = self.definition
        ended = {(row["arm"], row["seed"]): row for row in self.written_rows() if row["phase"] == "seed"}
        wanted = seeds_wanted(definition, ended)
        over = all((arm.name, seed) in ended for arm in definition.arms for seed in definition.seeds[:wanted])
        return wanted if over else len(definition.seeds)

    def first_run(self, arm: Arm) -> RunSpec:
        """The run that an arm begins with: trial 0 of its tuning, or its first seed."""
        seed = self.definition.tune_seed if arm.axes else self.definition.seeds[0]
        return self.runs.spec(arm, params=self.definition.first[arm.name], seed=seed)

    def largest_memory(self) -> int | None:
        """Bytes that the dearest arm trains in, by estimate; None where one of them cannot be estimated."""
        found = [training_memory(self.first_run(arm)).total for arm in self.definition.arms]
        return None if None in found else max(filter(None, found))

    def written_rows(self) -> list[table.Row]:
        """The rows of `results.csv`, as the last command on this study left it; none where there was none."""
        path = self.folder / table.FILE
        return table.read_csv(path, self.definition) if path.exists() else []


def open_study(config: Mapping[str, Any], overrides: Sequence[str]) -> Study:
    """The study that the overrides of a `-m` command describe, every arm checked; nothing is written or run.

    `config` is the whole config composed without the sweeps. Raises `SpecError` for whatever is wrong with it, and
    where the study of that name is another one.
    """
    forget_composed()
    spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
    sampler = load(config["sampler"], SamplerSpec, at="sampler")
    pruner = load(config["pruner"], PrunerSpec, at="pruner")
    check_objectives(spec.objectives, sampler=sampler, pruner=pruner)
    if spec.storage is not None:
        from nanochat.study.database import check_url

        check_url(spec.storage)
    if (_name(spec.name) or spec.dir) and (there := folder_of(spec, how, name=spec.name or "") / FILE).exists():
        spec = spec.beside(read_definition(there.parent))
    axes = spec.read(overrides, seed=config["seed"])
    spec.reading.check(axes.arms, seeds=len(axes.seeds))
    wanted = define(
        axes,
        command=[text for text in overrides if not text.startswith("study.storage=")],  # may hold a password
        seed=spec.seed,
        tune_seed=spec.tune_seed,
        lag=spec.lag,
        sampler=sampler,
        pruner=pruner,
        objectives=spec.objectives,
        reading=spec.reading,
        slots=spec.slots,
        cache=how.paths.cache,
    )
    wanted = replace(wanted, name=_name(spec.name) or default_name(wanted))
    folder = folder_of(spec, how, name=wanted.name)
    definition = open_definition(folder, wanted)
    runs = Runs(definition, axes.base, how)
    runs.check()
    study = Study(definition, spec, how, runs, folder)
    if definition.design is not None:
        return spec.prepared(study)
    check_searches(definition.arms, sampler=sampler, trials=spec.budget.trials)
    if spec.flops is not None:
        first = {name: plan.flops for name, plan in runs.plans().items()}
        check_flops(spec.budget, first, seeds=len(definition.seeds))
    return study


def folder_of(spec: CompareSpec, how: Settings, *, name: str) -> Path:
    """Where a study of that name lies."""
    return Path(spec.dir).expanduser().absolute() if spec.dir else how.paths.studies / name


def _name(name: str | None) -> str | None:
    if name is not None and (not name.strip() or "/" in name or name.startswith(".")):
        raise spec_error("study.name", name, "must be a plain name; it becomes a folder", "use study.dir for a place")
    return name
