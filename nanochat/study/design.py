"""The design of a scaling study: its sizes, what they cost, and the rules by which its points are chosen.

Kept in the study's definition; every point follows from it and from the results so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

Kind = Literal["isoflop", "sequential"]
Transfer = Literal["law", "mup", "none"]
Unit = Literal["flops", "seconds"]

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model of one arm and size.

    arm: its name, the size's included · params, body: parameters with and without embedding and head · flops: of
    training on one token · seconds: the same by measurement, and once for a run besides (start, scoring); None where
    the budget is not in hours · peak: the learning rate that its config names.
    """

    arm: str
    params: int
    body: int
    flops: float
    seconds: float | None
    fixed: float | None
    peak: float


@dataclass(frozen=True, kw_only=True)
class Design:
    """kind: how points are chosen after the first ones · flops, hours: the budget that the first grid was laid out for;
    a larger one adds to it · target: FLOPs that the study answers for · levels: budgets of the grid · growth: from one
    to the next · breadth: sizes at each · guess: tokens per parameter of the first sizes · least: smallest compute of
    a level, FLOPs · transfer: how rates reach sizes at which none were tried · tuned: sizes at which they are · step:
    ratio of neighbouring rates · rates: the most that are tried at a size · low, high: range of rates · branches:
    whether a longer run goes on from a shorter one of its size · batch: tokens of a step · steps: the least of a run ·
    sizes: of each arm, the smallest first.
    """

    kind: Kind
    flops: float | None
    hours: float | None
    target: float | None
    levels: int
    growth: float
    breadth: int
    guess: float
    least: float
    transfer: Transfer
    tuned: int
    step: float
    rates: int
    low: float
    high: float
    branches: bool
    batch: int
    steps: int
    sizes: tuple[Size, ...]

    @cached_property
    def by_arm(self) -> Mapping[str, Size]:
        return {size.arm: size for size in self.sizes}

    def level(self, k: int) -> float:
        """FLOPs of a run at level `k`, from 0."""
        return self.least * self.growth**k

    @property
    def answer_for(self) -> float:
        """FLOPs that the study answers for: ten times its largest level where none are named."""
        return self.target or 10 * self.level(self.levels - 1)

    def tokens(self, arm: str, k: int) -> int:
        """Tokens of whole steps nearest to what level `k` pays for."""
        return max(1, round(self.level(k) / self.by_arm[arm].flops / self.batch)) * self.batch

    def cost(self, arm: str, tokens: int, unit: Unit) -> float:
        """What a run of `tokens` costs. Seconds include what a run takes besides training."""
        size = self.by_arm[arm]
        if unit == "flops":
            return size.flops * tokens
        assert size.seconds is not None and size.fixed is not None, "times are measured where the budget is in hours"
        return size.seconds * tokens + size.fixed

    def identity(self) -> Mapping[str, Any]:
        """What two commands must have in common to be one study: the rules, not the budget, its grid or the times."""
        kept = (
            "kind",
            "levels",
            "rates",
            "growth",
            "breadth",
            "guess",
            "transfer",
            "tuned",
            "step",
            "low",
            "high",
            "branches",
            "steps",
        )
        sizes = [
            {key: value for key, value in asdict(s).items() if key not in ("seconds", "fixed")} for s in self.sizes
        ]
        return {**{key: getattr(self, key) for key in kept}, "sizes": sizes}


def data_of(design: Design | None) -> dict[str, Any] | None:
    """As plain data."""
    return None if design is None else {**asdict(design), "sizes": [asdict(size) for size in design.sizes]}


def design_of(data: Mapping[str, Any] | None) -> Design | None:
    """The design in plain data."""
    return None if data is None else Design(**{**data, "sizes": tuple(Size(**size) for size in data["sizes"])})


def timed(design: Design, times: Mapping[str, tuple[float, float]]) -> Design:
    """The design with the seconds of a token and of the rest of a run, by arm."""
    sizes = tuple(replace(s, seconds=times[s.arm][0], fixed=times[s.arm][1]) for s in design.sizes)
    return replace(design, sizes=sizes)


def alone(arm: str) -> str:
    """An arm's name without its size."""
    return arm.rpartition(" @ ")[0]


def families(design: Design) -> Mapping[str, Sequence[Size]]:
    """The sizes of each arm, the smallest first, by the arm's name at every size."""
    names = dict.fromkeys(alone(size.arm) for size in design.sizes)
    return {name: [size for size in design.sizes if alone(size.arm) == name] for name in names}
