"""Simulated worlds for scaling studies: a law, noise, rates, failures and a clock; the study's own store and agenda."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nanochat.core.compose import Interval
from nanochat.law.hoffmann import Hoffmann
from nanochat.study.agenda import Plan
from nanochat.study.axes import Arm, Axis
from nanochat.study.budget import Budget
from nanochat.study.definition import Definition
from nanochat.study.design import HOUR, Design, Kind, Size, Unit
from nanochat.study.grid import begins_of, with_levels
from nanochat.study.ledger import SLOWER
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from tests.study.definitions import definition
from tests.study.stores import working

BATCH = 1000
WSD = {
    "_target_": "nanochat.lr.wsd.WSDSpec",
    "peak": 0.01,
    "warmup": 10,
    "decay": 0.2,
    "floor": 0.0,
    "factors": {
        "_target_": "nanochat.lr.base.FactorsSpec",
        "embedding": 1.0,
        "hidden": 1.0,
        "head": 1.0,
        "vector": 1.0,
    },
}
AXES = (
    Axis("lr.peak", Interval(1e-4, 1e-1, log=True, integer=False)),
    Axis("stop.tokens", Interval(BATCH, 10**15, log=False, integer=True)),
)


def scaling(
    *,
    flops: float | None = 1e14,
    hours: float | None = None,
    kind: Kind = "isoflop",
    arms: Sequence[str] = ("gqa",),
    branches: bool = True,
    seeds: Sequence[int] = (1,),
    speed: float = 1e10,
    levels: int = 4,
    transfer: Any = "law",
    lag: int = 2,
) -> Definition:
    """A scaling study over a ladder of made-up sizes; `speed`: FLOPs a second, where the budget is in hours."""
    sizes = tuple(
        Size(
            arm=f"{arm} @ s{i}",
            params=round(1e4 * 1.6**i),
            body=round(0.9e4 * 1.6**i),
            flops=6.5e4 * 1.6**i,
            seconds=None if hours is None else 6.5e4 * 1.6**i / speed,
            fixed=None if hours is None else 2.0,
            peak=0.01,
        )
        for arm in arms
        for i in range(16)
    )
    design = Design(
        kind=kind, flops=flops, hours=hours, target=None, levels=levels, growth=2.0, breadth=5, guess=20.0, least=0.0,
        transfer=transfer, tuned=3, step=2.0, rates=8, low=1e-4, high=1e-1, branches=branches, batch=BATCH, steps=40,
        sizes=sizes,
    )  # fmt: skip
    plain = definition(arms=[size.arm for size in sizes], seeds=seeds, lag=lag)
    parts = {size.arm: size.arm.rpartition(" @ ") for size in sizes}
    found = Definition(
        **{
            **vars(plain),
            "arms": tuple(Arm(name, (), AXES, scale=part[2]) for name, part in parts.items()),
            "runs": {name: {"lr": WSD} for name in parts},
            "first": {name: {} for name in parts},
            "design": design,
        }
    )
    caps: dict[Unit, float] = {}
    if flops is not None:
        caps["flops"] = flops
    if hours is not None:
        caps["seconds"] = hours * HOUR / SLOWER
    design = with_levels(design, begins=begins_of(found), seeds=seeds, caps=caps)
    return Definition(**{**vars(found), "design": design})


@dataclass
class World:
    """What is true, and what goes wrong.

    law: of each arm · noise: sd of log loss · best: log of the best rate at 1e5 parameters, and its exponent ·
    diverging, failing: how often a run does · pace: sd of the log of how much longer than expected a run takes ·
    flops, seconds: what was really spent.
    """

    study: Definition
    law: dict[str, Hoffmann]
    seed: int
    noise: float = 0.003
    best: tuple[float, float] = (math.log(0.01), -0.2)
    diverging: float = 0.0
    failing: float = 0.0
    pace: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0
    reached: dict[int, int] = field(default_factory=dict)
    most: list[tuple[float, float]] = field(default_factory=list)

    def of(self, *what: object) -> np.random.Generator:
        """Random numbers that depend on what they are for alone, not on when they are asked for."""
        return np.random.default_rng([self.seed, *(abs(hash_of(item)) for item in what)])

    def loss(self, trial: Trial) -> float:
        """The loss of a run that is complete: the law, the rate's part, noise."""
        design = self.study.design
        assert design is not None
        size = design.by_arm[trial.arm]
        name = trial.arm.rpartition(" @ ")[0]
        wanted = self.best[0] + self.best[1] * math.log(size.params / 1e5)
        off = 0.02 * (math.log(trial.params["lr.peak"]) - wanted) ** 2
        noise = self.noise * self.of(trial.arm, trial.params["stop.tokens"], trial.seed).normal()
        return float(self.law[name].loss(size.params, trial.params["stop.tokens"])) * math.exp(off + noise)

    def attempt(self, trial: Trial) -> tuple[dict[str, Any], float, bool]:
        """How an attempt ends, the seconds that it takes, and whether it may be made again."""
        design = self.study.design
        assert design is not None
        size = design.by_arm[trial.arm]
        tokens = trial.params["stop.tokens"]
        at = self.reached.get(trial.id, trial.begins)
        draw = self.of("end", trial.arm, trial.phase, trial.number, trial.tries)
        fate, share = draw.uniform(), draw.uniform()
        status, until = "complete", tokens
        if fate < self.diverging:
            status, until = "diverged", at + int(share * (tokens - at) / BATCH) * BATCH
        elif fate < self.diverging + self.failing:
            status, until = "failed", at + int(share * (tokens - at) / BATCH) * BATCH
        took = 0.0
        if size.seconds is not None and size.fixed is not None:
            took = (size.fixed + size.seconds * (until - at)) * math.exp(self.pace * draw.normal())
            if trial.limit is not None and took > trial.limit:
                status, took = "timeout", trial.limit
        self.flops += size.flops * (until - at)
        self.reached[trial.id] = until
        loss = self.loss(trial)
        kept: dict[str, Any] = {"status": status, "reason": "", "key": f"{trial.id:016x}", "tokens": until}
        if trial.limit is not None:
            kept["elapsed"] = took
        if status == "complete":
            kept |= {"valid_bpb": loss, "test_bpb": loss}
        return kept, took, status == "failed" and trial.tries < 1

    def run(self, store: Store, *, slots: int = 2, stop_after: int | None = None) -> int:
        """Work on the study in so many slots until it is done, or so many attempts were made; returns those."""
        count, now, order = 0, 0.0, itertools.count()
        busy: list[tuple[float, int, Trial, dict[str, Any], bool]] = []
        while True:
            while len(busy) < slots and (stop_after is None or count < stop_after):
                trial = store.claim()
                if trial is None:
                    break
                count += 1
                kept, took, again = self.attempt(trial)
                self.seconds += took
                ends = now + took + 1e-3 * self.of("race", trial.id, trial.tries).uniform()
                heapq.heappush(busy, (ends, next(order), trial, kept, again))
            self.most.append((self.flops, self.seconds))
            if not busy:
                return count
            now, _, trial, kept, again = heapq.heappop(busy)
            if again:
                spent = {"seconds": trial.seconds + kept["elapsed"]} if trial.limit is not None else {}
                store.release(trial, tries=trial.tries + 1, **spent)
                continue
            values = (kept["test_bpb"],) if kept["status"] == "complete" else None
            assert store.tell(trial, kept, values=values)


def hash_of(item: object) -> int:
    """The same number for the same thing in every process."""
    return int.from_bytes(repr(item).encode()[-12:].rjust(12, b"."), "big")


def some_law(generator: np.random.Generator) -> Hoffmann:
    """A law whose best shape has between 5 and 80 tokens a parameter at 1e12 FLOPs."""
    alpha, beta = generator.uniform(0.25, 0.5, size=2)
    n = math.sqrt(1e12 / 6 / generator.uniform(5, 80))
    reducible = generator.uniform(0.8, 2.0)
    share = beta / (alpha + beta)
    return Hoffmann(
        E=generator.uniform(0.8, 2.0),
        A=reducible * share * n**alpha,
        B=reducible * (1 - share) * (1e12 / 6 / n) ** beta,
        alpha=alpha,
        beta=beta,
    )


def plans(study: Definition) -> dict[str, Plan]:
    return {arm.name: Plan(tokens=BATCH, first=BATCH, flops=1.0) for arm in study.arms}


def simulate(folder: Path, world: World, *, budget: Budget, slots: int = 2) -> Store:
    """A whole study in a world."""
    with working(folder, world.study, budget=budget, known=plans(world.study)) as store:
        world.run(store, slots=slots)
        return store
