"""The agenda of a scaling study: rates at some sizes, a first grid of points, then what the grid left open.

Everything follows from the definition and from results in one fixed order, never from when they came in. A point whose
shorter sibling is still running waits for it. What the budget does not pay for is not begun.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nanochat.study.agenda import Agenda
from nanochat.study.axes import Arm
from nanochat.study.budget import Budget
from nanochat.study.design import HOUR, Design, Size, Unit, alone, families
from nanochat.study.grid import RATES, Cell, begins_of, costs, first_cells, missing_sizes, row, siblings, tuned_sizes
from nanochat.study.ledger import TOKENS, Cost, affords, longest, spent
from nanochat.study.rates import FIRST_RATES, RateLaw, hopeless, loss_of, rate_laws, wanted_rates
from nanochat.study.sequential import next_cell
from nanochat.study.trial import Trial, new_trial

if TYPE_CHECKING:
    from nanochat.study.store import Store

PEAK = "lr.peak"

NOTHING = Cost(0.0, None)


class Points(Agenda):
    """Rates, first grid, missing sizes, further levels or single points, as long as the budget lasts."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        assert self.definition.design is not None
        self.design: Design = self.definition.design
        self.begins = begins_of(self.definition)
        self.planned: list[Cell] = []
        self.planned_by: tuple[frozenset[int], Budget] | None = None  # the points that were finished, and the budget

    def claim(self) -> Trial | None:
        return self._claim_rate() or self._claim_point()

    def total(self) -> int:
        if not self._tuned():
            sizes = [s for own in families(self.design).values() for s in tuned_sizes(self.design, own)]
            known = sum(max(math.ceil(RATES), len(self._tried(size))) for size in sizes)
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

    def rates(self) -> dict[str, RateLaw]:
        """The law of rates of each arm, by its name at every size, once all that is tried is over."""
        tried = {size.arm: self._tried(size) for size in self.design.sizes}
        known = {arm: {rate: loss for rate, loss in own.items() if loss is not None} for arm, own in tried.items()}
        return rate_laws(self.design, known)

    def judge(self, trial: Trial, reports: Sequence[tuple[int, float]]) -> int | None:
        """A rate beyond the first ones is given up where its curve ends beyond the cliff. Points never are: the law
        needs every one, the bad sizes too."""
        if trial.phase != "tune" or trial.number < FIRST_RATES:
            return None
        first = [other for other in self.book.tuning[trial.arm][:FIRST_RATES] if other.score is not None]
        if not first:
            return None
        best = min(first, key=lambda other: (other.score, other.number))
        given_up = hopeless(reports, best.past.reports, tokens=trial.params[TOKENS])
        return reports[-1][0] if given_up and reports[-1][0] < trial.params[TOKENS] else None

    # Rates

    def _claim_rate(self) -> Trial | None:
        """The next rate to try, of the size that has come least far."""
        if self._rates_closed():
            return None
        sizes = [size for own in families(self.design).values() for size in tuned_sizes(self.design, own)]
        for size in sorted(sizes, key=lambda size: len(self._tried(size))):
            for rate in wanted_rates(self.design, self._tried(size), first=size.peak):
                tokens = self.design.tokens(size.arm, 0)
                trial = new_trial(
                    self.definition.arm(size.arm),
                    phase="tune",
                    number=len(self.book.tuning[size.arm]),
                    seed=self.definition.tune_seed,
                    params={PEAK: rate, TOKENS: tokens},
                    flops=self.design.cost(size.arm, tokens, "flops"),
                )
                return self._begin(trial, besides=self._first_grid() if trial.number >= FIRST_RATES else NOTHING)
        return None

    def _first_grid(self) -> Cost:
        """What the first grid takes if the first guess holds: a rate more must not eat it."""
        cells = first_cells(self.design, seeds=self.definition.seeds)
        by_unit = {
            unit: sum(costs(self.design, cells, begins=self.begins, unit=unit).values())
            for unit in (("flops", "seconds") if self.budget.hours is not None else ("flops",))
        }
        return Cost(by_unit["flops"], by_unit.get("seconds"))

    def _tried(self, size: Size) -> dict[float, float | None]:
        """Losses by rate: None where the run is not over."""
        trials = self.book.tuning[size.arm]
        return {t.params[PEAK]: loss_of(t.status, t.score) if t.finished else None for t in trials}

    def _tuned(self) -> bool:
        """Whether every size's best rate is known, or the budget is."""
        sizes = [size for own in families(self.design).values() for size in tuned_sizes(self.design, own)]
        tried = [(size, self._tried(size)) for size in sizes]
        over = all(None not in known.values() for _, known in tried)
        return over and (
            self._closed()
            or self._rates_closed()
            or not any(wanted_rates(self.design, t, first=s.peak) for s, t in tried)
        )

    def _best_sizes(self) -> dict[str, float | None]:
        """The best number of parameters at the lowest level of each arm, by what trying rates has shown."""
        return {name: _best_size(self._lowest(sizes)) for name, sizes in families(self.design).items()}

    def _lowest(self, sizes: Sequence[Size]) -> dict[float, float]:
        """The lowest loss at each size at which rates were tried, by its parameters."""
        found = {
            size.params: [loss for loss in self._tried(size).values() if loss is not None and math.isfinite(loss)]
            for size in sizes
        }
        return {params: min(losses) for params, losses in found.items() if losses}

    # Points

    def _claim_point(self) -> Trial | None:
        """The first cell that is not begun and need not wait. It leaves those before it their share: which ones the
        budget pays for must not depend on which came first."""
        if not self._tuned() or self._closed():
            return None
        cells = self._cells()
        rates = self.rates()
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
        longest = max(complete, key=lambda trial: trial.params[TOKENS])
        assert longest.result is not None
        return longest.result["key"], self.begins(cell.arm, longest.params[TOKENS])

    def _cells(self) -> list[Cell]:
        """All cells that are known by now, in the order of their numbers."""
        now = (frozenset(trial.place for trial in self.book.points.values() if trial.finished), self.budget)
        if now != self.planned_by:
            self.planned, self.planned_by = self._plan(), now
        return self.planned

    def _plan(self) -> list[Cell]:
        """First grid; then, each time that all before are over: missing sizes, or the next level. Or single points."""
        lowest, seeds = self._best_sizes(), self.definition.seeds
        cells = first_cells(self.design, seeds=seeds, lowest=lowest)
        if self.design.kind == "sequential":
            chosen = self.planned if self.planned_by and self.planned_by[1] == self.budget else []
            while more := self._begun(len(cells)) or chosen[len(cells) :][:1] or self._sequel(cells):
                cells += more
            return cells
        while self._over(cells) and (more := self._further(cells, lowest)):
            cells += self._settled(more, number=len(cells))
        return cells

    def _settled(self, more: Sequence[Cell], *, number: int) -> list[Cell]:
        """Further cells, from `number` on, as they were begun: results are others where a failed point was begun again
        since, and what was begun for the earlier ones stays."""
        begun = {i: self._begun(i)[0] for i in self.book.points if i >= number}
        new = [cell for cell in more if cell not in begun.values()]
        found = []
        for i in range(number, number + len(more)):
            if i not in begun and not new:
                break
            found.append(begun[i] if i in begun else new.pop(0))
        return found

    def _begun(self, number: int) -> list[Cell]:
        """The cell of a point that was begun, under whatever budget and by whatever results there were then."""
        trial = self.book.points.get(number)
        if trial is None:
            return []
        tokens = trial.params[TOKENS]
        level = math.log(self.design.cost(trial.arm, tokens, "flops") / self.design.least, self.design.growth)
        return [Cell(trial.arm, round(level), tokens, trial.seed)]

    def _further(self, cells: Sequence[Cell], lowest: Mapping[str, float | None]) -> list[Cell]:
        """Sizes that prove to be missing; where none do, the next level, as long as all of it can be paid for."""
        seeds, design = self.definition.seeds, self.design
        more = [c for c in missing_sizes(design, cells, self._losses(cells), seeds=seeds) if c not in cells]
        if more:
            return more
        level = 1 + max(cell.level for cell in cells)
        return row(design, level, lowest=lowest, seeds=seeds) if self._pays(level, cells, lowest) else []

    def _pays(self, level: int, cells: Sequence[Cell], lowest: Mapping[str, float | None]) -> bool:
        wanted = row(self.design, level, lowest=lowest, seeds=self.definition.seeds)
        numbers = range(len(cells))
        trials = [t for t in self.book.trials() if t.phase != "point" or t.number in numbers]
        flops = sum(self.design.cost(c.arm, c.tokens, "flops") for c in wanted)
        timed = self.budget.hours is not None
        seconds = sum(longest(self.design.cost(c.arm, c.tokens, "seconds")) for c in wanted) if timed else None
        return affords(trials, self.budget, Cost(flops, seconds))

    def _sequel(self, cells: Sequence[Cell]) -> list[Cell]:
        """One more point where it tells most, chosen by the results of all but the last few."""
        seeds = self.definition.seeds
        first = len(first_cells(self.design, seeds=seeds, lowest=self._best_sizes()))
        seen = max(first, len(cells) - self.definition.lag)
        if not self._over(cells[:seen]):
            return []
        unit: Unit = "flops" if self.budget.hours is None else "seconds"
        cap = self.budget.flops if self.budget.hours is None else self.budget.hours * HOUR
        assert cap is not None, "a scaling study has a budget"
        rates = spent(itertools.chain(*self.book.tuning.values()), unit)
        chosen = next_cell(
            self.design,
            cells,
            self._losses(cells[:seen]),
            begins=self.begins,
            seed=seeds[0],
            left=cap - rates - sum(costs(self.design, cells, begins=self.begins, unit=unit).values()),
            unit=unit,
            turn=len(cells) - first,
        )
        return [chosen] if chosen else []

    def _over(self, cells: Sequence[Cell]) -> bool:
        return all((t := self.book.points.get(i)) is not None and t.finished for i in range(len(cells)))

    def _losses(self, cells: Sequence[Cell]) -> dict[Cell, float]:
        """Test scores of the cells that are complete."""
        found = {cell: self.book.points[i].score for i, cell in enumerate(cells)}
        return {cell: score for cell, score in found.items() if score is not None}


def _best_size(losses: Mapping[float, float]) -> float | None:
    """The number of parameters at the bottom of a parabola through three sizes, or the best of those tried."""
    if not losses:
        return None
    known: list[tuple[float, float]] = sorted(losses.items())
    at = min(range(len(known)), key=lambda i: known[i][1])
    if not 0 < at < len(known) - 1:
        return known[at][0]
    x, y = np.log([k[0] for k in known[at - 1 : at + 2]]), np.array([k[1] for k in known[at - 1 : at + 2]])
    bend, slope, _ = np.polyfit(x - x[1], y, 2)
    return float(math.exp(x[1] - slope / (2 * bend)))
