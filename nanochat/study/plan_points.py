"""What a scaling study will run and cost if its first guess holds: rates, then the first grid, level by level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nanochat.study.definition import Definition
from nanochat.study.design import Design
from nanochat.study.grid import RATES, Cell, all_tuned, begins_of, costs, first_cells
from nanochat.study.plan import makespan


@dataclass(frozen=True, kw_only=True)
class PointsPlan:
    """design: of the study · tuned: arms with sizes at which rates are tried, about `tries` each · cells: of the
    first grid, with the FLOPs that each trains · done: runs that are finished · slots · seconds: of all runs in those,
    None if unknown · most_flops, most_hours: the caps · disk: bytes that finished runs keep · free: on the disk.
    """

    name: str
    design: Design
    tuned: Sequence[str]
    cells: Mapping[Cell, float]
    done: int
    slots: int
    seconds: float | None
    most_flops: float | None
    most_hours: float | None
    disk: int
    free: int
    tries: int = math.ceil(RATES)

    @property
    def rate_flops(self) -> float:
        """Of all rates that are tried, about."""
        runs = ((arm, self.design.tokens(arm, 0)) for arm in self.tuned)
        return RATES * sum(self.design.cost(arm, tokens, "flops") for arm, tokens in runs)

    @property
    def runs(self) -> int:
        return self.tries * len(self.tuned) + len(self.cells)

    @property
    def left(self) -> int:
        """Runs still to come, at least; more where sizes prove to be missing and the budget has room for them."""
        return max(0, self.runs - self.done)

    @property
    def flops(self) -> float:
        """Of rates and first grid."""
        return self.rate_flops + sum(self.cells.values())

    @property
    def separate(self) -> float:
        """FLOPs of the first grid's runs if each were trained from scratch."""
        return sum(self.design.cost(cell.arm, cell.tokens, "flops") for cell in self.cells)


def plan_points(
    definition: Definition,
    *,
    done: int,
    slots: int,
    paces: Mapping[str, tuple[float, float]],
    most_flops: float | None,
    most_hours: float | None,
    disk: int,
    free: int,
) -> PointsPlan:
    """`paces`: seconds of a token, and of the rest of a run, by arm; of some or none where they are not known · disk:
    bytes that a run of each size keeps, added up over sizes."""
    design = definition.design
    assert design is not None, "a scaling study"
    begins = begins_of(definition)
    cells = costs(design, first_cells(design, seeds=definition.seeds), begins=begins, unit="flops")
    tuned = [size.arm for size in all_tuned(design)]
    tries = [arm for arm in tuned for _ in range(math.ceil(RATES))]
    jobs = [(arm, float(design.tokens(arm, 0))) for arm in tries]
    jobs += [(cell.arm, flops / design.by_arm[cell.arm].flops) for cell, flops in cells.items()]
    known = all(arm in paces for arm, _ in jobs)
    seconds = [paces[arm][0] * tokens + paces[arm][1] for arm, tokens in jobs] if known else []
    return PointsPlan(
        name=definition.name,
        design=design,
        tuned=tuned,
        cells=cells,
        done=done,
        slots=slots,
        seconds=makespan(seconds, slots=slots) if known else None,
        most_flops=most_flops,
        most_hours=most_hours,
        disk=round(disk / len(design.sizes) * len(jobs)),
        free=free,
    )
