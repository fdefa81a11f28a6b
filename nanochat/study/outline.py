"""Which points a scaling study has by now: the first grid, then what it left open, as its results come in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from nanochat.study.book import Book
from nanochat.study.budget import Budget
from nanochat.study.definition import Definition
from nanochat.study.design import Design, Unit
from nanochat.study.grid import Cell, begins_of, costs, first_cells, missing_sizes, row
from nanochat.study.ledger import TOKENS, Cost, affords, cap, longest, spent
from nanochat.study.sequential import next_cell
from nanochat.study.trying import Trying


class Outline:
    """The cells in the order of their numbers: what was begun for one stays, what is to come follows from results."""

    def __init__(self, definition: Definition, book: Book, trying: Trying) -> None:
        assert definition.design is not None, "a scaling study"
        self.definition, self.book, self.trying = definition, book, trying
        self.design: Design = definition.design
        self.begins = begins_of(definition)
        self.planned: list[Cell] = []
        self.planned_by: tuple[frozenset[int], Budget] | None = None  # the points that were finished, and the budget

    def cells(self, budget: Budget) -> list[Cell]:
        """All cells that are known by now, in the order of their numbers."""
        now = (frozenset(trial.place for trial in self.book.points.values() if trial.finished), budget)
        if now != self.planned_by:
            self.planned, self.planned_by = self._plan(budget), now
        return self.planned

    def _plan(self, budget: Budget) -> list[Cell]:
        """First grid; then, each time that all before are over: missing sizes, or the next level. Or single points."""
        lowest, seeds = self.trying.best_sizes(), self.definition.seeds
        cells = first_cells(self.design, seeds=seeds, lowest=lowest)
        if self.design.kind == "sequential":
            chosen = self.planned if self.planned_by and self.planned_by[1] == budget else []
            while more := self._begun(len(cells)) or chosen[len(cells) :][:1] or self._sequel(cells, budget):
                cells += more
            return cells
        while self._over(cells) and (more := self._further(cells, lowest, budget)):
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

    def _further(self, cells: Sequence[Cell], lowest: Mapping[str, float | None], budget: Budget) -> list[Cell]:
        """Sizes that prove to be missing; where none do, the next level, as long as all of it can be paid for."""
        seeds, design = self.definition.seeds, self.design
        more = [c for c in missing_sizes(design, cells, self._losses(cells), seeds=seeds) if c not in cells]
        if more:
            return more
        level = 1 + max(cell.level for cell in cells)
        return row(design, level, lowest=lowest, seeds=seeds) if self._pays(level, cells, lowest, budget) else []

    def _pays(self, level: int, cells: Sequence[Cell], lowest: Mapping[str, float | None], budget: Budget) -> bool:
        wanted = row(self.design, level, lowest=lowest, seeds=self.definition.seeds)
        numbers = range(len(cells))
        trials = [t for t in self.book.trials() if t.phase != "point" or t.number in numbers]
        flops = sum(self.design.cost(c.arm, c.tokens, "flops") for c in wanted)
        timed = budget.hours is not None
        seconds = sum(longest(self.design.cost(c.arm, c.tokens, "seconds")) for c in wanted) if timed else None
        return affords(trials, budget, Cost(flops, seconds))

    def _sequel(self, cells: Sequence[Cell], budget: Budget) -> list[Cell]:
        """One more point where it tells most, chosen by the results of all but the last few."""
        seeds = self.definition.seeds
        first = len(first_cells(self.design, seeds=seeds, lowest=self.trying.best_sizes()))
        seen = max(first, len(cells) - self.definition.lag)
        if not self._over(cells[:seen]):
            return []
        unit: Unit = "flops" if budget.hours is None else "seconds"
        most = cap(budget, unit)
        assert most is not None, "a scaling study has a budget"
        rates = spent(itertools.chain(*self.book.tuning.values()), unit)
        chosen = next_cell(
            self.design,
            cells,
            self._losses(cells[:seen]),
            begins=self.begins,
            seed=seeds[0],
            left=most - rates - sum(costs(self.design, cells, begins=self.begins, unit=unit).values()),
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
