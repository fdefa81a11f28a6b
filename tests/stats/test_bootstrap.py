"""The hierarchical bootstrap: what it covers, and that it does not cover what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nanochat.stats.bootstrap import bootstrap_interval


@pytest.mark.parametrize(("seeds", "covers"), [(2, 0.58), (3, 0.72), (5, 0.84)])
def test_it_covers_far_less_than_it_says(seeds: int, covers: float) -> None:
    """500 studies, 95% said; so no word may rest on it."""
    random, held, studies = np.random.default_rng(1), 0, 500
    for study in range(studies):
        bits = random.normal(size=(seeds, 1)) + 0.3 * random.normal(size=40) + 0.3 * random.normal(size=(seeds, 40))
        low, high = bootstrap_interval(bits, np.zeros_like(bits), sizes=np.ones(40), draws=500, seed=study)
        held += low <= 0 <= high
    assert held / studies == pytest.approx(covers, abs=0.05)


def test_it_is_the_ratio_of_sums_in_bits_and_the_same_for_a_seed() -> None:
    sizes = np.array([100.0, 300.0])
    a, b = np.array([[50.0, 90.0]] * 3), np.array([[40.0, 60.0]] * 3)
    same = bootstrap_interval(a / 10 * sizes / 100, b * 0, sizes=sizes, seed=1)
    assert same == bootstrap_interval(a / 10 * sizes / 100, b * 0, sizes=sizes, seed=1)
    assert bootstrap_interval(a, b, sizes=np.array([100.0, 300.0])) == pytest.approx((0.1 / math.log(2),) * 2)
    assert bootstrap_interval(b, a, sizes=np.array([100.0, 300.0])) == pytest.approx((-0.1 / math.log(2),) * 2)


def test_the_spread_of_many_documents_and_seeds_is_the_standard_error() -> None:
    random = np.random.default_rng(5)
    bits = random.normal(size=(200, 1)) + 2 * random.normal(size=100)
    low, high = bootstrap_interval(bits * 7 * math.log(2), np.zeros_like(bits), sizes=np.full(100, 7.0))
    expected = math.sqrt(bits.mean(axis=1).var() / 200 + bits.mean(axis=0).var() / 100)
    assert (high - low) / 2 == pytest.approx(1.96 * expected, rel=0.06)


def test_a_failed_seed_is_left_out() -> None:
    bits = np.random.default_rng(3).normal(size=(4, 5))
    broken = bits.copy()
    broken[2, 0] = math.nan
    sizes = np.ones(5)
    assert bootstrap_interval(broken, bits * 0, sizes=sizes) == bootstrap_interval(
        bits[[0, 1, 3]], bits[:3] * 0, sizes=sizes
    )
    with pytest.raises(ValueError, match="no seed"):
        bootstrap_interval(broken[2:3], bits[2:3], sizes=sizes)
