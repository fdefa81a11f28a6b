"""The contract of a logger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nanochat.core.spec import Spec

Row = Mapping[str, float]


class About(NamedTuple):
    """What a study uses a run for: a logger may sort runs by it.

    phase: tune, confirm … · number: of the trial · seed: of the run.
    """

    study: str
    arm: str
    phase: str
    number: int
    seed: int


class LoggerSpec(Spec):
    """Describes where measurements go. Never part of a run's key: it changes nothing in the run."""

    def check(self) -> None:
        """Refuse, before anything is spent, what cannot work here."""

    @abstractmethod
    def open(self, folder: Path, *, key: str, step: int, config: Mapping[str, Any], about: About | None) -> Logger:
        """Start logging the run `key` in `folder` after `step` (0 at the start); what was logged later is dropped.

        about: the study that it is run for, None for a run by itself.
        """


class Logger(ABC):
    """Takes a run's measurements, one row per logged optimizer step."""

    @abstractmethod
    def log(self, row: Row) -> None:
        """Write one row; `step` is among its columns."""

    @abstractmethod
    def close(self) -> None:
        """Everything logged is safe after this."""
