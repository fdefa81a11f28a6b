"""Effect sizes: against their formulas and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from nanochat.stats.effect import standardised, superiority
from nanochat.stats.paired import difference


def test_hedges_correction_makes_the_standardised_mean_unbiased() -> None:
    random = np.random.default_rng(0)
    found = [standardised(difference(0.8 + random.normal(size=5), np.zeros(5))) for _ in range(8000)]
    assert np.mean([value for value in found if value is not None]) == pytest.approx(0.8, abs=0.03)  # else 1.0


def test_superiority_is_the_predictive_probability() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 6))
    gap = difference(a, b)
    assert gap.sd is not None
    assert superiority(gap) == pytest.approx(t.cdf(-gap.mean / gap.sd / math.sqrt(1 + 1 / 6), 5))
    assert superiority(gap.mirrored) == pytest.approx(1 - t.cdf(-gap.mean / gap.sd / math.sqrt(1 + 1 / 6), 5))
    assert superiority(difference(a, a + 100 + b * 1e-3)) == pytest.approx(1, abs=1e-3)


def test_a_new_seed_falls_where_it_says() -> None:
    """Shifted to where `superiority` is 80%, a new difference lies below zero in 80% of cases."""
    random, below, studies = np.random.default_rng(2), 0, 4000
    for gaps in random.normal(size=(studies, 4)):
        first, new = gaps[:3], gaps[3]
        shift = -first.mean() - t.ppf(0.8, 2) * first.std(ddof=1) * math.sqrt(4 / 3)
        assert superiority(difference(first + shift, np.zeros(3))) == pytest.approx(0.8)
        below += new + shift < 0
    assert below / studies == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / studies))


def test_two_seeds_say_nothing_and_no_spread_says_all() -> None:
    two = difference(np.array([1.0, 2.0]), np.zeros(2))
    assert standardised(two) is superiority(two) is None
    same, lower = difference(np.ones(3), np.ones(3)), difference(np.zeros(3), np.ones(3))
    assert (standardised(same), superiority(same)) == (0.0, 0.5)
    assert (standardised(lower), superiority(lower), superiority(lower.mirrored)) == (None, 1.0, 0.0)
