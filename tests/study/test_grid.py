"""Designs of scaling studies: what a budget pays for, which sizes stand at each level, what a branch costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.study.design import Design, Kind, data_of, design_of, families
from nanochat.study.grid import (
    FIRST_SHARE,
    Cell,
    around,
    begins_of,
    centre,
    costs,
    first_cells,
    missing_sizes,
    nominal,
    row,
    tuned_sizes,
)  # fmt: skip
from tests.study.worlds import BATCH, scaling


def designed(**how) -> Design:
    design = scaling(**how).design
    assert design is not None
    return design


@given(
    st.floats(12.5, 19), st.sampled_from(["isoflop", "sequential"]), st.booleans(), st.integers(2, 6), st.integers(1, 3)
)
@settings(max_examples=8, deadline=None)
def test_the_first_grid_takes_its_share_of_the_budget_and_no_more(
    exponent: float, kind: Kind, branches: bool, levels: int, seeds: int
) -> None:
    study = scaling(flops=10**exponent, kind=kind, branches=branches, levels=levels, seeds=range(1, seeds + 1))
    assert study.design is not None
    planned = nominal(study.design, begins=begins_of(study), seeds=study.seeds, unit="flops")
    assert planned <= FIRST_SHARE * 10**exponent
    larger = replace(study.design, least=1.3 * study.design.least)
    assert nominal(larger, begins=begins_of(study), seeds=study.seeds, unit="flops") > FIRST_SHARE * 10**exponent


def test_a_cell_costs_its_level_whatever_its_size_and_grows_with_it() -> None:
    design = designed(flops=1e15)
    for cell in first_cells(design, seeds=(1,)):
        assert cell.tokens % BATCH == 0
        off = design.cost(cell.arm, cell.tokens, "flops") / design.level(cell.level) - 1
        assert abs(off) <= 0.5 * BATCH / cell.tokens + 1e-9, "whole steps"
    assert design.level(3) / design.level(2) == pytest.approx(design.growth)


def test_sizes_stand_about_the_best_and_run_for_enough_steps() -> None:
    design = designed(flops=1e15)
    for k in range(design.levels):
        sizes = around(design, design.sizes, k, params=centre(design, k))
        assert len(sizes) == design.breadth
        assert [size.params for size in sizes] == sorted(size.params for size in sizes)
        assert sizes[0].params < centre(design, k) < sizes[-1].params
        guessed = design.level(k) / 6 / centre(design, k) / centre(design, k)
        assert guessed == pytest.approx(design.guess), "tokens per parameter"
        assert all(design.tokens(size.arm, k) >= design.steps * BATCH for size in sizes)
    found = around(design, design.sizes, 0, params=design.sizes[3].params)
    assert design.sizes[3] in found
    short = replace(design, steps=design.tokens(design.sizes[2].arm, 0) // BATCH)
    assert [size.arm for size in around(short, design.sizes, 0, params=1e9)] == [s.arm for s in design.sizes[:3]]


def test_a_branch_costs_what_it_trains() -> None:
    study = scaling(flops=1e15)
    design, begins = study.design, begins_of(study)
    assert design is not None
    cells = first_cells(design, seeds=(1, 2))
    found = costs(design, cells, begins=begins, unit="flops")
    alone = costs(replace(design, branches=False), cells, begins=begins, unit="flops")
    for cell in cells:
        shorter = [c for c in cells if (c.arm, c.seed) == (cell.arm, cell.seed) and c.tokens < cell.tokens]
        if not shorter:
            assert found[cell] == alone[cell] == design.cost(cell.arm, cell.tokens, "flops")
        else:
            start = begins(cell.arm, max(c.tokens for c in shorter))
            assert found[cell] == pytest.approx(design.by_arm[cell.arm].flops * (cell.tokens - start))
    assert sum(found.values()) < 0.75 * sum(alone.values())


def test_a_level_is_extended_where_its_best_size_lies_at_an_end() -> None:
    design = designed(flops=1e15)
    cells = row(design, 1, lowest={}, seeds=(1,))
    arms = [size.arm for size in design.sizes]
    first, last = arms.index(cells[0].arm), arms.index(cells[-1].arm)

    def extended(best: int) -> list[str]:
        losses = {cell: 2 + 0.1 * abs(i - best) for i, cell in enumerate(cells)}
        return [cell.arm for cell in missing_sizes(design, cells, losses, seeds=(1,))]

    assert extended(0) == [arms[first - 1]]
    assert extended(len(cells) - 1) == [arms[last + 1]]
    assert extended(2) == []
    assert missing_sizes(design, cells, {}, seeds=(1,)) == [], "where all failed nothing is known"
    many = [Cell(arm, 1, design.tokens(arm, 1), 1) for arm in arms[: 2 * design.breadth]]
    falling = {cell: 3 - 0.1 * i for i, cell in enumerate(many)}
    assert missing_sizes(design, many, falling, seeds=(1,)) == [], "not for ever"


def test_rates_are_tried_at_sizes_of_the_lowest_level() -> None:
    design = designed(flops=1e15)
    lowest = around(design, design.sizes, 0, params=centre(design, 0))
    tuned = tuned_sizes(design, design.sizes)
    assert [tuned[0], tuned[-1]] == [lowest[0], lowest[-1]] and len(tuned) == 3
    assert tuned_sizes(replace(design, transfer="mup"), design.sizes) == [lowest[2]]
    assert tuned_sizes(replace(design, transfer="none"), design.sizes) == []
    two = designed(flops=1e15, arms=("gqa", "mla"))
    assert {name: len(tuned_sizes(two, sizes)) for name, sizes in families(two).items()} == {"gqa": 3, "mla": 3}


def test_a_design_is_the_same_in_plain_data() -> None:
    for design in (designed(), designed(hours=3.0, flops=None)):
        assert design_of(data_of(design)) == design
    assert design_of(None) is None and data_of(None) is None


def test_budgets_and_times_are_no_part_of_what_a_study_is() -> None:
    small, large = designed(flops=1e14), designed(flops=1e15)
    assert small.identity() == large.identity()
    changes = {"growth": 3.0, "breadth": 7, "guess": 40.0, "branches": False, "step": 1.5, "low": 1e-3, "steps": 99}
    for name, value in changes.items():
        assert replace(small, **{name: value}).identity() != small.identity(), name


def test_the_answer_is_ten_times_the_largest_level_where_none_is_named() -> None:
    design = designed(flops=1e15)
    assert design.answer_for == pytest.approx(10 * design.level(design.levels - 1))
    assert replace(design, target=3e20).answer_for == 3e20
    levels = [design.level(k) for k in range(4)]
    assert all(math.isclose(b / a, design.growth) for a, b in itertools.pairwise(levels))
