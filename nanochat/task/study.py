"""`task=study`: what studies there are, how one stands, what failed; `task.retry=failed` begins that again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from nanochat.core.spec import load
from nanochat.report.state import State, details, overview
from nanochat.run.spec import settings
from nanochat.study.compare import CompareSpec
from nanochat.study.reopen import find, folders, look, reopen
from nanochat.study.work import work_on
from nanochat.task.base import StudyTaskSpec
from nanochat.task.conclude import conclude


class StudySpec(StudyTaskSpec):
    """Without `study.name` all studies, a line each; with it one of them; nothing is run unless `retry` asks for it."""

    retry: Literal["failed"] | None

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
        console = Console(highlight=False)
        if self.retry:
            study, budgeted = reopen(config, words)
            return conclude(work_on(study, grow=budgeted, begin_again=True), console=console)
        if spec.name is None and spec.dir is None:
            states = [_state(folder, spec) for folder in folders(how.paths.studies)]
            console.print(overview(states, studies=how.paths.studies))
            return 0
        console.print(details(_state(find(config), spec), runs=how.paths.runs))
        return 0


def _state(folder: Path, spec: CompareSpec) -> State:
    definition, store, leases = look(folder, url=spec.storage, lease_seconds=spec.lease_seconds)
    return State(folder=folder, definition=definition, store=store, workers=leases.others(), alive=leases.alive)
