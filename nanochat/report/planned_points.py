"""A scaling study's plan as people read it, at 80 columns."""

from __future__ import annotations

import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nanochat.report.planned import clock_time, short, size, span
from nanochat.study.design import families
from nanochat.study.plan_points import PointsPlan


def view(plan: PointsPlan) -> list[RenderableType]:
    """A level a line, then what it all comes to."""
    design = plan.design
    table = Table(title=f"{plan.name}: its first grid", title_justify="left", box=None, pad_edge=False)
    for name in ("level", "FLOPs/run", "runs", "parameters", "tokens", "to train"):
        table.add_column(name, justify="right", overflow="fold")
    for k in sorted({cell.level for cell in plan.cells}):
        own = {cell: flops for cell, flops in plan.cells.items() if cell.level == k}
        params = [design.by_arm[cell.arm].params for cell in own]
        tokens = [cell.tokens for cell in own]
        sizes, lengths = (f"{short(min(x))} – {short(max(x))}" for x in (params, tokens))
        table.add_row(str(k), f"{design.level(k):.2e}", str(len(own)), sizes, lengths, f"{sum(own.values()):.2e}")
    return [table, *(Text(line) for line in _lines(plan))]


def _lines(plan: PointsPlan) -> list[str]:
    design, arms = plan.design, len(families(plan.design))
    found = []
    if plan.tuned:
        count = f"{plan.tries} or more rates at each of {len(plan.tuned)} sizes"
        found.append(f"before: {count}, {plan.rate_flops:.2e} FLOPs")
    if design.kind == "sequential":
        found.append(
            f"after: one point at a time, where it tells most, up to {design.level(design.levels - 1):.2e} FLOPs"
        )
    else:
        found.append("after: sizes and levels that prove to be missing, as far as the budget goes")
    saved = 1 - sum(plan.cells.values()) / plan.separate
    from_scratch = f" ({plan.separate:.2e} from scratch: {saved:.0%} saved)" if design.branches else ""
    of_arms = f" of {arms} arms" if arms > 1 else ""
    found.append(f"grid: {len(plan.cells)} runs{of_arms}, {sum(plan.cells.values()):.2e} FLOPs{from_scratch}")
    caps = [f"{plan.most_flops:.3g} FLOPs"] if plan.most_flops is not None else []
    caps += [f"{plan.most_hours:g} hours of runs"] if plan.most_hours is not None else []
    found.append(f"budget: {' and '.join(caps)}, never exceeded; answers for {design.answer_for:.3g} FLOPs")
    if plan.seconds is not None and plan.left:
        end = datetime.datetime.now() + datetime.timedelta(seconds=plan.seconds)
        start = "" if not plan.done else f"{plan.done} runs are done; from nothing "
        found.append(f"time: {start}about {span(plan.seconds)}, {plan.slots} at a time, done {clock_time(end)}")
    found.append(f"disk: {size(plan.disk)}, {size(plan.free)} free")
    return found
