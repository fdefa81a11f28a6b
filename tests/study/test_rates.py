"""Rates: tried until the best one is bracketed, told from losses by a parabola, carried over sizes by a power law."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nanochat.study.rates import FIRST_RATES, hopeless, rate_laws, tried_at, wanted_rates
from tests.study.worlds import scaling

STUDY = scaling()
assert STUDY.design is not None
DESIGN = STUDY.design


def search(loss, *, first: float = 0.01, design=DESIGN) -> dict[float, float]:
    """All rates that are tried at a size, with their losses."""
    tried: dict[float, float | None] = {}
    while rates := wanted_rates(design, tried, first=first):
        tried |= dict.fromkeys(rates)
        assert wanted_rates(design, tried, first=first) == [], "nothing is begun before the last ones are over"
        tried |= {rate: loss(rate) for rate in rates}
    return {rate: value for rate, value in tried.items() if value is not None}


def bowl(best: float):
    return lambda rate: 2 + 0.05 * (math.log(rate) - math.log(best)) ** 2


@pytest.mark.parametrize("best", [0.0015, 0.004, 0.01, 0.013, 0.05])
def test_rates_are_tried_until_the_best_is_bracketed_and_its_place_is_found(best: float) -> None:
    losses = search(bowl(best))
    found = tried_at(1e5, losses)
    assert found is not None and not found.edge
    assert found.vertex == pytest.approx(math.log(best), abs=1e-6)
    assert len(losses) <= DESIGN.rates
    lowest = min(losses, key=lambda rate: losses[rate])
    assert min(losses) < lowest < max(losses)


def test_a_search_ends_at_the_range_and_says_so() -> None:
    losses = search(bowl(1e-6))
    found = tried_at(1e5, losses)
    assert found is not None and found.edge
    assert min(losses) >= DESIGN.low and found.vertex == pytest.approx(math.log(min(losses)))
    assert len(search(bowl(1e-6), design=replace(DESIGN, rates=4))) == 4


def test_beyond_what_diverges_nothing_is_tried_and_what_failed_says_nothing() -> None:
    losses = search(lambda rate: math.inf if rate > 0.015 else bowl(0.1)(rate))
    assert max(losses) == pytest.approx(0.02)
    found = tried_at(1e5, losses)
    assert found is not None and not found.edge and found.vertex == pytest.approx(math.log(0.01))
    assert tried_at(1e5, {0.01: math.inf, 0.02: math.inf}) is None
    unknown = search(lambda rate: math.nan if rate > 0.015 else bowl(0.1)(rate))
    assert len(unknown) == FIRST_RATES, "the next rate was tried, and failed: it is not tried again"
    found = tried_at(1e5, unknown)
    assert found is not None and found.edge, "whether it goes on beyond is not known"


@pytest.mark.parametrize("exponent", [-0.5, -0.25, 0.0])
def test_rates_are_carried_over_by_a_power_law(exponent: float) -> None:
    sizes = [DESIGN.sizes[i] for i in (0, 8, 15)]
    best = {size.arm: 0.01 * (size.params / 1e6) ** exponent for size in sizes}
    losses = {arm: {rate: bowl(b)(rate) for rate in b * np.array([0.5, 1.0, 2.0])} for arm, b in best.items()}
    law = rate_laws(DESIGN, losses)["gqa"]
    assert law.exponent == pytest.approx(exponent, abs=0.02), "three sizes far apart tell more than published laws"
    assert law.rate(1e6) == pytest.approx(0.01, rel=0.1)
    one = rate_laws(DESIGN, {arm: losses[arm] for arm in list(losses)[:1]})["gqa"]
    assert one.exponent == pytest.approx(-0.25) and one.exponent_sd == pytest.approx(0.25)
    assert one.rate(sizes[0].params) == pytest.approx(best[sizes[0].arm], rel=1e-3)


def test_mup_carries_one_rate_over_and_none_takes_the_configs() -> None:
    size = DESIGN.sizes[8]
    losses = {size.arm: {rate: bowl(0.02)(rate) for rate in (0.01, 0.02, 0.04)}}
    law = rate_laws(replace(DESIGN, transfer="mup"), losses)["gqa"]
    assert law.rate(1e4) == law.rate(1e9) == pytest.approx(0.02, rel=1e-3)
    assert rate_laws(replace(DESIGN, transfer="none"), {})["gqa"].rate(1e9) == pytest.approx(size.peak)


def test_a_curve_that_ends_beyond_the_cliff_is_hopeless() -> None:
    best = [(100, 4.0), (200, 3.0), (300, 2.5), (400, 2.0)]
    assert hopeless([(100, 6.0), (200, 4.5)], best, tokens=400)
    assert not hopeless([(100, 6.0)], best, tokens=400), "one validation shows no trend"
    assert not hopeless([(100, 6.0), (200, 3.45)], best, tokens=400), "it is catching up"
    assert not hopeless([(100, 4.1), (200, 3.1)], best, tokens=400), "near enough to tell where the best rate lies"
