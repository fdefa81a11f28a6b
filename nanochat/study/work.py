"""The work on a study until its budget is met, and where it then stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nanochat.core.artifact import write_text
from nanochat.core.spec import modules_in
from nanochat.run import child
from nanochat.study import table
from nanochat.study.compare import Study
from nanochat.study.failures import Policy
from nanochat.study.join import join, meet_code
from nanochat.study.lease import Leases
from nanochat.study.pool import PRELOAD, Pool, Target
from nanochat.study.store import Store
from nanochat.study.watch import Watch
from nanochat.study.worker import Worker


@dataclass(frozen=True)
class Outcome:
    """Where a study stands. `complete`: its budget is met; `again`: it was already, and nothing was run."""

    study: Study
    rows: Sequence[table.Row]
    complete: bool
    again: bool


def work_on(
    study: Study,
    *,
    target: Target = child.main,
    preload: Sequence[str] = PRELOAD,
    grow: bool = True,
    begin_again: bool = False,
) -> Outcome:
    """Work on a study until its budget is met or somebody interrupts, then write its table.

    target: what the process of a run calls · grow: set the budget to this command's · begin_again: first put up what
    failed for another attempt.
    """
    leases = Leases(study.folder / "workers", seconds=study.spec.lease_seconds)
    with leases.held():
        study, store = prepare(study, leases=leases, grow=grow, begin_again=begin_again)
        again = store.done()
        if not again:
            _work(study, store, target=target, preload=preload)
        return outcome_of(study, store, again=again)


def prepare(study: Study, *, leases: Leases, grow: bool = True, begin_again: bool = False) -> tuple[Study, Store]:
    """The study as it is stored, and its memory, ready to be worked on by this code.

    Raises `SpecError` where the study, its texts or its code are not what they were.
    """
    study = study.over(join(study.folder, study.definition, others=leases.others()))
    store = store_of(study, leases=leases)
    if grow:
        store.grow(study.spec.budget)
    if begin_again:
        store.begin_again()
    if not store.done():
        definition = meet_code(study.folder, study.definition, rule=study.settings.code, others=leases.others())
        if definition != study.definition:  # a new round: everything is run again
            budget, study = store.budget, study.over(definition)
            store = store_of(study, leases=leases)
            store.grow(budget)
    return study, store


def outcome_of(study: Study, store: Store, *, again: bool) -> Outcome:
    """Where the study stands, its table written."""
    found = table.rows(store.trials())
    write_text(study.folder / table.FILE, table.csv_text(found, study.definition))
    return Outcome(study=study, rows=found, complete=store.done(), again=again)


def store_of(study: Study, *, leases: Leases) -> Store:
    """The study's memory."""
    return Store(
        study.folder,
        study.definition,
        leases=leases,
        plans=study.runs.plans(),
        url=study.spec.storage,
        flops=study.runs.flops,
    )


def _work(study: Study, store: Store, *, target: Target, preload: Sequence[str]) -> None:
    spec = study.spec
    with study.open_slots() as slots:
        pool = Pool(target, slots=slots, preload=[*preload, *modules_in(study.definition.runs)])
        try:
            with Watch(study.definition.name, slots=[slot.label for slot in slots]) as watch:
                worker = Worker(
                    store,
                    runs=study.runs,
                    pool=pool,
                    watch=watch,
                    policy=Policy.parse(spec.on_failure),
                    most_lost=spec.most_lost,
                    fail_fast=spec.fail_fast,
                    patience=spec.patience,
                )
                worker.work()
        finally:
            pool.close()
