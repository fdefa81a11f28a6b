"""Power: against scipy's noncentral t, at the extremes, and with the share of documents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import nct, t

from nanochat.stats.documents import DocumentVariance
from nanochat.stats.paired import difference
from nanochat.stats.power import equivalence_power, power, seeds_needed

GAP = difference(np.array([0.1, 0.2, 0.3]), np.zeros(3))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 15])
@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("effect", [0.0, 0.3, 1.0, 3.0])
def test_power_is_the_noncentral_ts(effect: float, seeds: int, alpha: float) -> None:
    critical, shift = t.isf(alpha / 2, seeds - 1), effect * math.sqrt(seeds)
    # scipy's far tail may be NaN where it is next to nothing
    expected = nct.sf(critical, seeds - 1, shift) + np.nan_to_num(nct.cdf(-critical, seeds - 1, shift))
    assert power(2 * effect, 2.0, seeds=seeds, alpha=alpha) == pytest.approx(expected, abs=2e-5)
    assert power(-2 * effect, 2.0, seeds=seeds, alpha=alpha) == pytest.approx(expected, abs=2e-5)


def test_extreme_values_are_finite() -> None:
    assert power(1.0, 1.0, seeds=50, alpha=0.05 / 15) == pytest.approx(0.99993, abs=1e-5)  # where scipy's nct gives NaN
    assert power(1e6, 1e-6, seeds=3, alpha=1e-9) == pytest.approx(1)
    assert power(1e-12, 1e6, seeds=1000, alpha=0.05) == pytest.approx(0.05, abs=1e-6)
    assert power(1.0, 0.0, seeds=3, alpha=0.05) == 1
    assert power(0.0, 0.0, seeds=3, alpha=0.05) == 0
    assert equivalence_power(0.1, 0.0, seeds=3, alpha=0.05, rope=0.2) == 1
    assert equivalence_power(0.3, 0.0, seeds=3, alpha=0.05, rope=0.2) == 0
    assert equivalence_power(0.0, 1.0, seeds=3, alpha=0.05, rope=0.0) == 0
    with pytest.raises(ValueError, match="two seeds"):
        power(1.0, 1.0, seeds=1, alpha=0.05)


def test_more_comparisons_and_smaller_differences_need_more_seeds() -> None:
    few, many = (seeds_needed(GAP, rope=None, comparisons=c) for c in (1, 15))
    smaller = seeds_needed(difference(np.array([0.0, 0.1, 0.2]), np.zeros(3)), rope=None, comparisons=1)
    assert few is not None and many is not None and smaller is not None
    assert 3 <= few < many
    assert few < smaller


def test_no_number_of_seeds() -> None:
    nothing = difference(np.array([-0.1, 0.0, 0.1]), np.zeros(3))
    assert seeds_needed(nothing, rope=None, comparisons=1) is None
    assert seeds_needed(nothing, rope=0.1, comparisons=1) is not None
    assert seeds_needed(GAP, rope=None, comparisons=1, most=3) is None
    assert seeds_needed(difference(np.array([1.0]), np.array([2.0])), rope=None, comparisons=1) is None


def test_without_spread_three_seeds_decide_what_can_be_decided() -> None:
    same = difference(np.ones(3), np.ones(3))
    assert seeds_needed(same, rope=None, comparisons=1) is None
    assert seeds_needed(same, rope=0.1, comparisons=1) == 3
    assert seeds_needed(difference(np.ones(3), np.zeros(3)), rope=None, comparisons=1) == 3


def test_seeds_do_not_lessen_the_doubt_of_documents() -> None:
    def needed(variance: float) -> int | None:
        a, documents = np.array([0.1, 0.2, 0.3]), DocumentVariance(variance=variance, df=100.0)
        return seeds_needed(difference(a, np.zeros(3), documents=documents), rope=None, comparisons=1)

    plain, some = seeds_needed(GAP, rope=None, comparisons=1), needed(0.06**2)
    assert needed(0.0) == plain
    assert plain is not None and some is not None and plain < some
    assert needed(0.2**2) is None  # the difference is one standard error of the documents, for ever
