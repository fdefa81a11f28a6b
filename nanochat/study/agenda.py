"""The contract of an agenda: what a study does next, and when it is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.study.axes import Arm
from nanochat.study.budget import Budget
from nanochat.study.trial import Trial

if TYPE_CHECKING:
    from nanochat.study.store import Store


@dataclass(frozen=True)
class Plan:
    """What is known of an arm's runs beforehand: tokens, tokens at the first validation, training FLOPs."""

    tokens: int
    first: int
    flops: float


class Agenda(ABC):
    """Decides by the definition, the budget and the trials so far alone, and only while the store has its lock: so it
    matters neither which worker asks nor how often the study was killed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.definition = store.definition
        self.book = store.book

    @property
    def budget(self) -> Budget:
        return self.store.budget

    @abstractmethod
    def claim(self) -> Trial | None:
        """Begin the next trial whose dependencies are met; None if there is none now."""

    @abstractmethod
    def total(self) -> int:
        """How many trials the study has when it is done, as far as is known."""

    @abstractmethod
    def done(self) -> bool:
        """Whether every trial of the budget is finished."""

    @abstractmethod
    def limit(self, arm: Arm) -> int:
        """How many tuning trials an arm may have, by the number of them alone."""

    def more(self, count: int) -> int | None:
        """The budget with `count` more trials; None where no arm has more to try."""
        return None

    def affords(self, trial: Trial) -> bool:
        """Whether the budget has room for a trial that was begun before to go on."""
        return True

    def may_begin_again(self, trial: Trial) -> bool:
        """Whether a trial that failed may be begun again: not where what follows from it was run already."""
        return True

    def confirmed_flops(self) -> float:
        """FLOPs that runs outside tuning took, to be kept where the budget changes."""
        return 0.0

    def judge(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> int | None:
        """The tokens at which a tuning trial is given up by what it reported so far; None as long as it is not."""
        return None

    def rungs(self, trial: Trial) -> Mapping[str, float]:
        """What the pruner noted on a tuning trial."""
        return {}
