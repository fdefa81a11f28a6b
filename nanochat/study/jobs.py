"""A study whose workers are jobs: define it, submit them, watch until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from nanochat.core.errors import MachineError
from nanochat.core.progress import quiet
from nanochat.study import cluster as jobs
from nanochat.study.compare import Study
from nanochat.study.lease import Leases
from nanochat.study.store import Store
from nanochat.study.work import Outcome, outcome_of, prepare, store_of


def work_by_jobs(study: Study, *, cluster: str, launcher: Mapping[str, Any]) -> Outcome:
    """Submit as many workers as are missing, and wait. Ctrl-C ends the waiting, not the jobs.

    Raises `MachineError` where all jobs ended and the study is not done.
    """
    console = Console(stderr=True, highlight=False)
    folder = study.folder / "jobs"
    leases = Leases(study.folder / "workers", seconds=study.spec.lease_seconds)
    study, store = prepare(study, leases=leases)
    again = store.done()
    if not again:
        running = jobs.alive(folder)
        missing = study.spec.workers - len(running)
        if missing > 0:
            running += jobs.submit(cluster, launcher, count=missing, words=_words(study), folder=folder)
        _say(console, f"{study.definition.name}: {len(running)} workers ({', '.join(running)}); their words: {folder}")
        _wait(study, store, console=console)
    return outcome_of(study, store_of(study, leases=leases), again=again)


def _wait(study: Study, store: Store, *, console: Console) -> None:
    """Until the study is done; a line for every trial more."""
    told = -1

    def done() -> bool:
        nonlocal told
        store.refresh()
        finished = sum(trial.finished for trial in store.trials())
        if finished != told:
            told = finished
            _say(console, f"{study.definition.name}: {finished} of {store.total()} trials")
        return store.done()

    try:
        complete = jobs.watch(study.folder / "jobs", done=done)
    except KeyboardInterrupt:
        _say(console, "the jobs go on; the same command watches them again")
        raise
    if not complete:
        where = study.folder / "jobs"
        raise MachineError(f"all workers have ended before the study has; see their words in {where}")


def _words(study: Study) -> list[str]:
    """What a worker has to be told: which study, and where. It reads all else from the study itself."""
    paths = study.settings.paths
    words = [f"study.name={study.definition.name}", f"code={study.settings.code}"]
    words += [f"paths.multirun='{paths.root}'", f"paths.experiments='{study.notebook.parent}'"]
    places = {"study.dir": study.spec.dir and study.folder, "study.storage": study.spec.storage}
    return words + [f"{key}='{value}'" for key, value in places.items() if value]


def _say(console: Console, text: str) -> None:
    if not quiet():
        console.print(text, markup=False, soft_wrap=True)
