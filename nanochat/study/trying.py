"""Rates that are tried before the points of a scaling study, at some of its sizes: the next one, and what they tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nanochat.study.book import Book
from nanochat.study.definition import Definition
from nanochat.study.design import Design, Size, families
from nanochat.study.grid import all_tuned
from nanochat.study.ledger import TOKENS
from nanochat.study.rates import FIRST_RATES, RateLaw, hopeless, loss_of, lowest_point, rate_laws, wanted_rates
from nanochat.study.trial import Trial, new_trial

PEAK = "lr.peak"


class Trying:
    """The search for rates as the book has it."""

    def __init__(self, definition: Definition, book: Book) -> None:
        assert definition.design is not None, "a scaling study"
        self.definition, self.book = definition, book
        self.design: Design = definition.design
        self.sizes = all_tuned(self.design)

    def next(self) -> Trial | None:
        """The next rate to try, of the size that has come least far; None where none is wanted now."""
        for size in sorted(self.sizes, key=lambda size: len(self.tried(size))):
            for rate in wanted_rates(self.design, self.tried(size), first=size.peak):
                tokens = self.design.tokens(size.arm, 0)
                return new_trial(
                    self.definition.arm(size.arm),
                    phase="tune",
                    number=len(self.book.tuning[size.arm]),
                    seed=self.definition.tune_seed,
                    params={PEAK: rate, TOKENS: tokens},
                    flops=self.design.cost(size.arm, tokens, "flops"),
                )
        return None

    def tried(self, size: Size) -> dict[float, float | None]:
        """Losses by rate: None where the run is not over."""
        trials = self.book.tuning[size.arm]
        return {t.params[PEAK]: loss_of(t.status, t.score) if t.finished else None for t in trials}

    @property
    def over(self) -> bool:
        """Whether every rate that was begun is over."""
        return all(None not in self.tried(size).values() for size in self.sizes)

    def laws(self) -> dict[str, RateLaw]:
        """The law of rates of each arm, by its name at every size."""
        tried = {size.arm: self.tried(size) for size in self.design.sizes}
        known = {arm: {rate: loss for rate, loss in own.items() if loss is not None} for arm, own in tried.items()}
        return rate_laws(self.design, known)

    def best_sizes(self) -> dict[str, float | None]:
        """The best number of parameters at the lowest level of each arm, by what trying rates has shown."""
        return {name: _best_size(self._lowest(sizes)) for name, sizes in families(self.design).items()}

    def given_up(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> bool:
        """Whether a rate beyond the first ones, by its reports, ends beyond the cliff."""
        first = [other for other in self.book.tuning[trial.arm][:FIRST_RATES] if other.score is not None]
        if trial.number < FIRST_RATES or not first:
            return False
        best = min(first, key=lambda other: (other.score, other.number))
        return hopeless(reports, best.past.reports, tokens=trial.params[TOKENS])

    def _lowest(self, sizes: Sequence[Size]) -> dict[float, float]:
        """The lowest loss at each size at which rates were tried, by its parameters."""
        found = {
            size.params: [loss for loss in self.tried(size).values() if loss is not None and math.isfinite(loss)]
            for size in sizes
        }
        return {params: min(losses) for params, losses in found.items() if losses}


def _best_size(losses: Mapping[float, float]) -> float | None:
    """The number of parameters at the bottom of a parabola through three sizes, or the best of those tried."""
    if not losses:
        return None
    known = sorted((math.log(params), loss) for params, loss in losses.items())
    at = min(range(len(known)), key=lambda i: known[i][1])
    if not 0 < at < len(known) - 1:
        return min(losses, key=lambda params: losses[params])
    return math.exp(lowest_point(known[at - 1 : at + 2]))
