"""Plans of runs in a world of which the law is known: what each planner's answer costs at the target.

A world is a law drawn at random; a run in it is its loss times 0.4% of noise. Planners spend 2e18 FLOPs in all and are
asked for the best shape at 1e19. Regret: L(chosen shape) / L(best shape) − 1 there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from nanochat.law.design import Design, Place, candidates, choose, isoflop_grid
from nanochat.law.fit import Options, fit, refit
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.isoflop import Method, approach_2

BUDGET, TARGET, NOISE = 2e18, 1e19, 0.004

# Where the noise is known, a δ above it: under it Huber's loss is least absolute residuals, a third of runs wasted.
OPTIONS = Options(delta=2.5 * NOISE)

# What one knows before: twenty tokens a parameter, and a law of the usual size to begin with.
GUESS = math.sqrt(TARGET / 6 / 20)
BEFORE = Hoffmann(E=2.0, A=400.0, B=1000.0, alpha=0.35, beta=0.35)

# A tenth of the budget for the first eight runs; none of the others takes more than that.
SHARE = 0.1


@dataclass(frozen=True)
class Answer:
    """regret: of the shape · loss: |L̂/L − 1| at the target, None where the planner tells no loss · runs: paid for ·
    spent: FLOPs."""

    regret: float
    loss: float | None
    runs: int
    spent: float


@dataclass
class World:
    """A law, and the runs that were paid for."""

    law: Hoffmann
    random: Generator
    places: list[Place] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def run(self, places: Sequence[Place]) -> None:
        for place in places:
            self.places.append(place)
            self.losses.append(float(self.law.loss(place.n, place.d)) * math.exp(NOISE * self.random.normal()))

    @property
    def spent(self) -> float:
        return sum(place.cost for place in self.places)

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n, d = (np.array([getattr(place, name) for place in self.places]) for name in ("n", "d"))
        return n, d, np.array(self.losses)

    def answer(self, params: float, *, loss: float | None = None) -> Answer:
        best = self.law.best(TARGET)
        regret = float(self.law.loss(params, TARGET / 6 / params)) / best - 1
        return Answer(regret, None if loss is None else abs(loss / best - 1), len(self.losses), self.spent)


def world(seed: int) -> World:
    """Exponents .25 to .5, E 1.5 to 2.5, 5 to 80 tokens a parameter at the target, where A's term is .2 to .8."""
    random = np.random.default_rng(seed)
    alpha, beta = random.uniform(0.25, 0.5, size=2)
    ratio = math.exp(random.uniform(math.log(5), math.log(80)))
    n = math.sqrt(TARGET / 6 / ratio)
    term = random.uniform(0.2, 0.8)
    a, b = term * n**alpha, alpha / beta * term * (n * ratio) ** beta
    return World(Hoffmann(E=random.uniform(1.5, 2.5), A=a, B=b, alpha=alpha, beta=beta), random)


def grid(world: World, *, method: Method) -> Answer:
    """Four budgets, each three times the last, of five sizes; approach 2."""
    weights = 3.0 ** np.arange(4)
    budgets = (weights / weights.sum() * BUDGET / 5).tolist()
    world.run(isoflop_grid(GUESS, at=TARGET, budgets=budgets, sizes=5, span=4))
    n, d, loss = world.rows
    found = approach_2(n, 6 * n * d, loss, method=method)
    return world.answer(found.params.at(TARGET) if found.params else GUESS)


def fitted_grid(world: World) -> Answer:
    """The same runs; approach 3."""
    grid(world, method="parabola")
    return _by_fit(world)


def sequential(world: World, *, thrift: float = 0.0) -> Answer:
    """Eight small runs, and then the one that tells most, with a fit after each."""
    share = SHARE * BUDGET
    world.run(isoflop_grid(GUESS, at=TARGET, budgets=[share / 16, 3 * share / 16], sizes=4, span=6))
    places = candidates(
        params=np.geomspace(1e6, 3e8, 24).tolist(), tokens_per_param=np.geomspace(1, 1000, 25).tolist(), most=share
    )
    # Hundreds of runs that cost nothing are no plan.
    places = [place for place in places if place.cost > 5e-3 * BUDGET] if thrift else places
    law = BEFORE
    while True:
        n, d, loss = world.rows
        law = refit({"n": n, "d": d}, loss, near=law, options=OPTIONS)
        design = Design.of(law, n, d, noise=NOISE)
        place = choose(design, places, c=TARGET, left=BUDGET - world.spent, thrift=thrift)
        if place is None:
            return _by_fit(world)
        world.run([place])


def _by_fit(world: World) -> Answer:
    n, d, loss = world.rows
    law = fit(Hoffmann, {"n": n, "d": d}, loss, options=OPTIONS).law
    return world.answer(law.params(TARGET), loss=law.best(TARGET))
