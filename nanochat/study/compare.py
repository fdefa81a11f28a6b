"""`study=compare`: arms on shared seeds, each tuned first where there is something to tune."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from nanochat.core.artifact import writable
from nanochat.core.errors import spec_error
from nanochat.core.spec import Count, Int, Positive, Spec, load
from nanochat.run.child import main as run_child
from nanochat.run.spec import Settings, settings
from nanochat.study import table
from nanochat.study.axes import read_axes
from nanochat.study.definition import FILE, Definition, default_name, open_definition
from nanochat.study.journal import alone
from nanochat.study.lease import Leases
from nanochat.study.pool import Pool
from nanochat.study.runs import Runs, default_slots, define
from nanochat.study.store import Store
from nanochat.study.watch import Watch
from nanochat.study.worker import Worker


class CompareSpec(Spec):
    """How a study is made and carried out.

    name: null is derived from the axes · dir: its folder, null is <paths.multirun>/studies/<name> · trials: of
    tuning, for each arm that has something to tune · extend: more of them · seed: of the suggestions · tune_seed:
    the one that tuning uses · lag: suggestion n sees the results of trials up to n - lag · space: what is tuned where
    the command has neither commas nor ranges · arms: name to overrides · slots: runs at a time, null is one for each
    core (on a GPU one) · lease_seconds: after which a silent worker on another machine counts as dead.
    """

    name: str | None
    dir: str | None
    trials: Count
    extend: Annotated[Int, Field(ge=0)]
    seed: Int
    tune_seed: Int
    lag: Count
    space: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    slots: Count | None
    lease_seconds: Positive

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str | None) -> str | None:
        if name is not None and (not name.strip() or "/" in name or name.startswith(".")):
            raise spec_error(
                "", name, "must be a folder's name: no slash, no dot in front", "use study.dir for a place"
            )
        return name


@dataclass(frozen=True, kw_only=True)
class Study:
    """An opened study: its folder, what it is, and how this command carries it out."""

    folder: Path
    definition: Definition
    runs: Runs
    spec: CompareSpec
    settings: Settings

    @property
    def notebook(self) -> Path:
        """Its folder in the lab notebook."""
        return Path(self.settings.paths.experiments).expanduser().absolute() / self.definition.name


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study has come to. `complete`: its budget is met · `again`: it was before this command."""

    study: Study
    rows: Sequence[table.Row]
    complete: bool
    again: bool


def open_study(config: Mapping[str, Any], overrides: Sequence[str]) -> Study:
    """Define the study that `overrides` describe, or reopen it. Every arm is checked before anything is spent.

    Raises `SpecError` for mistakes, and when another study bears its name.
    """
    spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
    axes = read_axes(overrides, arms=spec.arms, space=spec.space, seed=config["seed"], tune_seed=spec.tune_seed)
    command = [text for text in overrides if not text.startswith("paths.")]
    wanted = define(axes, command=command, study=spec, slots=spec.slots)
    wanted = replace(wanted, name=spec.name or default_name(wanted))
    Runs(wanted, axes.base, how).check()
    folder = Path(spec.dir).expanduser().absolute() if spec.dir else how.paths.studies / wanted.name
    with alone(folder):
        definition = open_definition(folder, wanted)
    return Study(folder=folder, definition=definition, runs=Runs(definition, axes.base, how), spec=spec, settings=how)


def work_on(study: Study) -> Outcome:
    """Work on a study until its budget is met or somebody interrupts it; its table is written either way."""
    spec, definition = study.spec, study.definition
    leases = Leases(study.folder / "workers", seconds=spec.lease_seconds)
    with leases.held():
        store = Store(study.folder, definition, leases=leases)
        store.grow(spec.trials + spec.extend)
        again = store.done()
        complete = again or _work(study, store)
        rows = table.rows_of(definition, store.trials())
    table.write_csv(study.folder / table.FILE, definition, rows)
    _copy_to_notebook(study)
    return Outcome(study=study, rows=rows, complete=complete, again=again)


def _work(study: Study, store: Store) -> bool:
    slots = study.spec.slots or default_slots(study.definition.device)
    done = sum(trial.finished for trial in store.trials())
    pool = Pool(run_child, slots=slots, threads=study.definition.threads)
    try:
        with Watch(slots=slots, total=store.total(), done=done) as watch:
            return Worker(store, study.runs, pool, watch).work()
    finally:
        pool.close()


def _copy_to_notebook(study: Study) -> None:
    with writable(study.notebook):
        study.notebook.mkdir(parents=True, exist_ok=True)
        for name in (FILE, table.FILE):
            shutil.copyfile(study.folder / name, study.notebook / name)
