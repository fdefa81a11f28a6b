"""How a study's scores are read: what is compared with what, and when a difference is none that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nanochat.core.errors import alternatives, spec_error
from nanochat.stats import FEWEST_SEEDS
from nanochat.study.axes import Arm

Population = Literal["seeds", "documents"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """rope: differences of at most so many bits per byte do not matter, None: all do · baseline: the arm that the
    others are compared with, None: every pair is compared · generalise: what the interval speaks of, new seeds on these
    test documents, or new documents too · looks: numbers of seeds at which the study may end early, the last one all.
    """

    rope: float | None = None
    baseline: str | None = None
    generalise: Population = "seeds"
    looks: tuple[int, ...] = ()

    def check(self, arms: Sequence[Arm], *, seeds: int) -> None:
        """Raises `SpecError` for what cannot be read that way."""
        names = list(dict.fromkeys(arm.alone for arm in arms))
        if self.baseline is not None and self.baseline not in names:
            raise spec_error("study.baseline", self.baseline, "is no arm", f"try {alternatives(names)}")
        if not self.looks:
            return
        if list(self.looks) != sorted(set(self.looks)) or self.looks[0] < FEWEST_SEEDS or self.looks[-1] != seeds:
            rule = f"must grow from {FEWEST_SEEDS} or more to all {seeds} seeds"
            remedy = f"e.g. [{FEWEST_SEEDS},{seeds}]" if seeds > FEWEST_SEEDS else "list more seeds"
            raise spec_error("study.looks", list(self.looks), rule, remedy)
        if len(names) == 1:
            raise spec_error("study.looks", list(self.looks), "has one arm alone: nothing to decide", "leave it out")
        if self.generalise == "documents":
            raise spec_error("study.looks", list(self.looks), "are calibrated for new seeds", "leave study.generalise")

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "looks": list(self.looks)}


def reading_of(data: dict[str, Any]) -> Reading:
    """The reading in plain data."""
    return Reading(**{**data, "looks": tuple(data["looks"])})
