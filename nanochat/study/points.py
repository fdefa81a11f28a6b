"""The agenda of a scaling study: rates at some sizes, a first grid of points, then what the grid left open.

Everything follows from the definition and from results in one fixed order, never from when they came in. A point whose
shorter sibling is still running waits for it. What the budget does not pay for is not begun.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nanochat.study.agenda import Agenda
from nanochat.study.axes import Arm
from nanochat.study.design import Design, alone
from nanochat.study.grid import RATES, Cell, costs, first_cells, siblings
from nanochat.study.ledger import TOKENS, Cost, affords, longest
from nanochat.study.outline import Outline
from nanochat.study.rates import FIRST_RATES, RateLaw
from nanochat.study.trial import Trial, new_trial
from nanochat.study.trying import PEAK, Trying

if TYPE_CHECKING:
    from nanochat.study.store import Store

NOTHING = Cost(0.0, None)


class Points(Agenda):
    """Rates, first grid, missing sizes, further levels or single points, as long as the budget lasts."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        assert self.definition.design is not None
        self.design: Design = self.definition.design
        self.trying = Trying(self.definition, self.book)
        self.outline = Outline(self.definition, self.book, self.trying)

    def claim(self) -> Trial | None:
        return self._claim_rate() or self._claim_point()

    def total(self) -> int:
        if not self._tuned():
            known = sum(max(math.ceil(RATES), len(self.trying.tried(size))) for size in self.trying.sizes)
            return known + len(first_cells(self.design, seeds=self.definition.seeds))
        tried = sum(len(trials) for trials in self.book.tuning.values())
        return tried + (len(self.book.points) if self._closed() else max(len(self._cells()), len(self.book.points)))

    def done(self) -> bool:
        if self.book.open() or not self._tuned():
            return False
        return self._closed() or len(self.book.points) >= len(self._cells())

    def limit(self, arm: Arm) -> int:
        """As many rates as were tried."""
        return len(self.book.tuning[arm.name])

    def affords(self, trial: Trial) -> bool:
        others = [other for other in self.book.trials() if other.id != trial.id]
        return affords(
            [*others, replace(trial, flops=0.0, limit=0.0)], self.budget, Cost(trial.flops or 0, trial.limit)
        )

    def may_begin_again(self, trial: Trial) -> bool:
        """Every point has its rate, and its place, from the rates that were tried before the first one."""
        return trial.phase == "point" or not self.book.points

    def judge(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> int | None:
        """A rate is given up where its curve ends beyond the cliff. Points never are: the law needs every one, the bad
        sizes too."""
        last = reports[-1][0]
        ends = trial.phase == "tune" and last < trial.params[TOKENS] and self.trying.given_up(trial, reports)
        return last if ends else None

    def _claim_rate(self) -> Trial | None:
        """The next rate, as long as the first grid keeps its share."""
        trial = None if self._rates_closed() else self.trying.next()
        if trial is None:
            return None
        return self._begin(trial, besides=self._first_grid() if trial.number >= FIRST_RATES else NOTHING)

    def _first_grid(self) -> Cost:
        """What the first grid takes if the first guess holds: a rate more must not eat it."""
        cells = first_cells(self.design, seeds=self.definition.seeds)
        by_unit = {
            unit: sum(costs(self.design, cells, begins=self.outline.begins, unit=unit).values())
            for unit in (("flops", "seconds") if self.budget.hours is not None else ("flops",))
        }
        return Cost(by_unit["flops"], by_unit.get("seconds"))

    def _tuned(self) -> bool:
        """Whether every size's best rate is known, or the budget for rates is used."""
        return self.trying.over and (self._closed() or self._rates_closed() or self.trying.next() is None)

    def _claim_point(self) -> Trial | None:
        """The first cell that is not begun and need not wait. It leaves those before it their share: which ones the
        budget pays for must not depend on which came first."""
        if not self._tuned() or self._closed():
            return None
        cells = self._cells()
        rates = self.trying.laws()
        waiting: list[Cell] = []
        for number, cell in enumerate(cells):
            if number in self.book.points:
                continue
            start = self._start(number, cell)
            if start is not None:
                point = self._point(number, cell, rate=rates[alone(cell.arm)], start=start)
                return self._begin(point, besides=self._most(waiting) if waiting else NOTHING)
            waiting.append(cell)
        return None

    def _most(self, waiting: Sequence[Cell]) -> Cost:
        """What those that wait may take: all of it, where what they would go on from does not come to its end."""
        flops = sum(self.design.cost(cell.arm, cell.tokens, "flops") for cell in waiting)
        if self.budget.hours is None:
            return Cost(flops, None)
        return Cost(flops, sum(longest(self.design.cost(cell.arm, cell.tokens, "seconds")) for cell in waiting))

    def _point(self, number: int, cell: Cell, *, rate: RateLaw, start: tuple[str | None, int]) -> Trial:
        size = self.design.by_arm[cell.arm]
        trial = new_trial(
            self.definition.arm(cell.arm),
            phase="point",
            number=number,
            seed=cell.seed,
            params={PEAK: rate.rate(size.params), TOKENS: cell.tokens},
            flops=self.design.cost(cell.arm, cell.tokens - start[1], "flops"),
        )
        return replace(trial, start=start[0], begins=start[1])

    def _begin(self, trial: Trial, *, besides: Cost = NOTHING) -> Trial | None:
        """Begin a trial that the budget has room for, `besides` what it must leave. Where open trials may yet give
        something back it waits for them; where none are, that was all, of the rates or of the study."""
        seconds = None
        if self.budget.hours is not None:
            seconds = longest(self.design.cost(trial.arm, trial.params[TOKENS] - trial.begins, "seconds"))
        flops = (trial.flops or 0.0) + besides.flops
        whole = Cost(flops, None if seconds is None else seconds + (besides.seconds or 0.0))
        if affords(self.book.trials(), self.budget, whole):
            return self.store.begin(replace(trial, limit=seconds))
        if not self.book.open():
            self.store.note(
                "rates_closed" if trial.phase == "tune" and besides is not NOTHING else "closed", self.budget.data()
            )
        return None

    def _closed(self) -> bool:
        """Whether the budget has no room for the next trial."""
        return self.store.noted.get("closed") == self.budget.data()

    def _rates_closed(self) -> bool:
        """Whether the budget has room for the first grid, but for no rate more."""
        return "rates_closed" in self.store.noted or self.book.points != {}

    def _start(self, number: int, cell: Cell) -> tuple[str | None, int] | None:
        """The run that a cell goes on from, and the tokens at which; None as long as that is not known."""
        if not self.design.branches:
            return None, 0
        cells = self._cells()
        before = [cells.index(other) for other in siblings(cell, cells[:number])]
        trials = [self.book.points.get(i) for i in before]
        if not all(trial is not None and trial.finished for trial in trials):
            return None
        complete = [trial for trial in trials if trial is not None and trial.result and trial.status == "complete"]
        if not complete:
            return None, 0
        trunk = max(complete, key=lambda trial: trial.params[TOKENS])
        assert trunk.result is not None
        return trunk.result["key"], self.outline.begins(cell.arm, trunk.params[TOKENS])

    def _cells(self) -> list[Cell]:
        return self.outline.cells(self.budget)
