"""`study=compare`: the Spec of a study, and the work on one until its budget is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nanochat.core.artifact import write_json, write_text
from nanochat.core.errors import spec_error
from nanochat.core.gpu import gpus
from nanochat.core.spec import Count, Int, Positive, Spec, load
from nanochat.run import child
from nanochat.run.spec import RunSpec, Settings, settings
from nanochat.study import table
from nanochat.study.axes import Arm, read_axes
from nanochat.study.definition import FILE, Definition, default_name, open_definition, plain
from nanochat.study.journal import alone
from nanochat.study.lease import Leases
from nanochat.study.pool import PRELOAD, Pool, Target
from nanochat.study.runs import Runs, default_slots, define
from nanochat.study.slots import Slot, open_slots
from nanochat.study.store import Store
from nanochat.study.watch import Watch
from nanochat.study.worker import Worker


class CompareSpec(Spec):
    """Arms compared on shared seeds, each tuned first where there is something to tune."""

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

    @property
    def slots(self) -> int:
        return self.spec.slots or default_slots(self.definition.device)

    def open_slots(self) -> AbstractContextManager[list[Slot]]:
        """The places in which this command runs the study's runs."""
        device = self.definition.device
        return open_slots(
            device,
            count=self.slots,
            gpus=None,
            per_gpu=self.slots,
            devices=1,
            threads=self.definition.threads,
            memory=lambda: None,
            found=gpus() if device == "cuda" else [],
        )

    def tuning(self, arm: Arm) -> int:
        """Tuning trials of an arm."""
        return self.spec.trials + self.spec.extend if arm.axes else 0

    @property
    def total(self) -> int:
        """Runs of the whole study."""
        return sum(self.tuning(arm) + len(self.definition.seeds) for arm in self.definition.arms)

    def first_run(self, arm: Arm) -> RunSpec:
        """The run that an arm begins with: trial 0 of its tuning, or its first seed."""
        seed = self.definition.tune_seed if arm.axes else self.definition.seeds[0]
        return self.runs.spec(arm, params=self.definition.first[arm.name], seed=seed)

    def written_rows(self) -> list[table.Row]:
        """The rows of `results.csv`, as the last command on this study left it; none where there was none."""
        path = self.folder / table.FILE
        return table.read_csv(path, self.definition) if path.exists() else []


@dataclass(frozen=True)
class Outcome:
    """Where a study stands. `complete`: its budget is met; `again`: it was already, and nothing was run."""

    study: Study
    rows: Sequence[table.Row]
    complete: bool
    again: bool


def open_study(config: Mapping[str, Any], overrides: Sequence[str]) -> Study:
    """The study that the overrides of a `-m` command describe, every arm checked; nothing is written or run.

    `config` is the whole config composed without the sweeps. Raises `SpecError` for whatever is wrong with it, and
    where the study of that name is another one.
    """
    spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
    axes = read_axes(overrides, arms=spec.arms, space=spec.space, seed=config["seed"], tune_seed=spec.tune_seed)
    wanted = define(
        axes,
        command=overrides,
        seed=spec.seed,
        tune_seed=spec.tune_seed,
        lag=spec.lag,
        slots=spec.slots,
        cache=how.paths.cache,
    )
    wanted = replace(wanted, name=_name(spec.name) or default_name(wanted))
    folder = Path(spec.dir).expanduser().absolute() if spec.dir else how.paths.studies / wanted.name
    definition = open_definition(folder, wanted)
    runs = Runs(definition, axes.base, how)
    runs.check()
    return Study(definition, spec, how, runs, folder)


def work_on(study: Study, *, target: Target = child.main, preload: Sequence[str] = PRELOAD) -> Outcome:
    """Work on a study until its budget is met or somebody interrupts, then write its files.

    `target` is what the process of a run calls.
    """
    study = _begin(study)
    leases = Leases(study.folder / "workers", seconds=study.spec.lease_seconds)
    with leases.held():
        store = Store(study.folder, study.definition, leases=leases)
        store.grow(study.spec.trials + study.spec.extend)
        again = store.done()
        complete = again or _work(study, store, target=target, preload=preload)
    found = table.rows(store.trials())
    _write(study, found, complete=complete)
    return Outcome(study=study, rows=found, complete=complete, again=again)


def _begin(study: Study) -> Study:
    """The study as it is stored; stored first, if it is new. Of two that begin it at once the first one decides."""
    with alone(study.folder):
        definition = open_definition(study.folder, study.definition)
        write_json(study.folder / FILE, plain(definition))
    return replace(study, definition=definition, runs=replace(study.runs, definition=definition))


def _work(study: Study, store: Store, *, target: Target, preload: Sequence[str]) -> bool:
    with study.open_slots() as slots:
        pool = Pool(target, slots=slots, preload=preload)
        try:
            with Watch(study.definition.name, len(slots)) as watch:
                return Worker(store, runs=study.runs, pool=pool, watch=watch).work()
        finally:
            pool.close()


def _write(study: Study, found: Sequence[table.Row], *, complete: bool) -> None:
    """`results.csv` in the study's folder, and with the definition in the notebook once the study is complete."""
    text = table.csv_text(found, study.definition)
    write_text(study.folder / table.FILE, text)
    if complete:
        write_text(study.notebook / table.FILE, text)
        write_json(study.notebook / FILE, plain(study.definition))


def _name(name: str | None) -> str | None:
    if name is not None and (not name.strip() or "/" in name or name.startswith(".")):
        raise spec_error("study.name", name, "must be a plain name; it becomes a folder", "use study.dir for a place")
    return name
