"""`task=worker study.name=…`: work on a study that another command defined, here or on another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from nanochat.study.reopen import reopen
from nanochat.study.work import work_on
from nanochat.task.base import StudyTaskSpec
from nanochat.task.conclude import conclude


class WorkerSpec(StudyTaskSpec):
    """Join, work until nothing is left, show the table. The study's folder and its runs are shared."""

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        study, budgeted = reopen(config, words)
        return conclude(work_on(study, grow=budgeted), console=Console(highlight=False))
