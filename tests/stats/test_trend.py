"""Differences over scales: the slope, its interval and the words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from nanochat.stats.trend import trend

SIZES = [1e6, 1e7, 3e8]
NOISE = 0.01 * np.array([[-1.0, 0.0, 1.0], [0.5, -1.0, 0.5], [0.0, 1.0, -1.0]])


def scales(*means: float) -> list[np.ndarray]:
    return [mean + row for mean, row in zip(means, NOISE, strict=True)]


def test_the_slope_is_least_squares_and_its_interval_a_t_over_seeds() -> None:
    differences = list(np.random.default_rng(0).normal(size=(3, 5)))
    found, x = trend(differences, SIZES, comparisons=2), np.log10(SIZES)
    assert found is not None
    slopes = [np.polyfit(x, gaps, 1)[0] for gaps in np.stack(differences).T]
    expected = ttest_1samp(slopes, 0).confidence_interval(1 - 0.05 / 2)
    assert found.slope == pytest.approx(np.mean(slopes))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_order_of_scales_does_not_matter() -> None:
    differences = list(np.random.default_rng(1).normal(size=(3, 5)))
    order = [2, 0, 1]
    assert trend(differences, SIZES) == trend([differences[i] for i in order], [SIZES[i] for i in order])


@pytest.mark.parametrize(
    ("means", "rope", "word"),
    [
        ((0.1, 0.5, 1.0), None, "grows"),
        ((-0.1, -0.5, -1.0), None, "grows"),
        ((0.0, 0.5, 1.0), None, "grows"),
        ((1.0, 0.5, 0.1), None, "shrinks"),
        ((-1.0, -0.5, 0.0), None, "shrinks"),
        ((-1.0, 0.1, 1.0), None, "turns"),
        ((1.0, 0.1, -1.0), None, "turns"),
        ((0.5, 0.5, 0.5), None, "undecided"),
        ((0.5, 0.5, 0.5), 0.2, "steady"),
        ((0.5, 0.5, 0.8), 0.2, "grows"),
        ((0.0, 0.0, 0.0), 0.2, "steady"),
        ((0.0, 0.0, 0.0), None, "undecided"),
        ((0.0, 0.0, 0.0), 0.01, "undecided"),
    ],
)
def test_words(means: tuple[float, ...], rope: float | None, word: str) -> None:
    found = trend(scales(*means), SIZES, rope=rope)
    assert found is not None and found.word == word


def test_a_slope_whose_ends_are_both_undecided_is_undecided() -> None:
    """Seeds shift all scales alike: the slope is sure, on which side of zero the ends lie is not."""
    shift = np.array([-0.5, 0.0, 0.5])
    found = trend([shift - 0.1 + 0.01 * NOISE[0], shift + 0.1 + 0.01 * NOISE[1]], [1e6, 1e7])
    assert found is not None and found.low is not None and found.low > 0
    assert found.word == "undecided"


def test_fewer_than_two_scales_have_no_trend() -> None:
    assert trend([np.ones(3)], [1e6]) is None
    assert trend([np.ones(3), np.full(3, math.nan)], [1e6, 1e7]) is None
    with pytest.raises(ValueError, match="size of its own"):
        trend([np.ones(3), np.zeros(3)], [1e6, 1e6])


def test_seeds_that_are_not_shared_fall_back_to_the_means() -> None:
    one, other = np.array([0.1, 0.2, 0.3]), np.array([1.0, 1.1, 1.2, 1.3])
    found = trend([one, other], [1e6, 1e8])
    assert found is not None and found.low is not None and found.high is not None
    assert found.slope == pytest.approx((1.15 - 0.2) / 2)
    se = math.sqrt(one.var(ddof=1) / 3 + other.var(ddof=1) / 4) / 2
    assert (found.high - found.low) / 2 == pytest.approx(4.302653 * se)
    assert found.word == "grows"
    few = trend([one, other[:2]], [1e6, 1e8])
    assert few is not None and few.low is few.high is None and few.word == "undecided"


@pytest.mark.parametrize("kind", ["independent", "shared", "missing"])
def test_no_trend_is_claimed_in_at_most_five_percent(kind: str) -> None:
    """Interval and word, with a constant difference; seeds may shift all scales alike, runs may be missing."""
    random, studies, missed, claimed = np.random.default_rng(3), 1200, 0, 0
    for _ in range(studies):
        gaps = 1 + np.array([[0.3], [1.0], [2.0]]) * random.normal(size=(3, 4))
        if kind == "shared":
            gaps += random.normal(size=4)
        if kind == "missing":
            gaps[0, 0] = gaps[2, 1] = math.nan
        found = trend(list(gaps), SIZES)
        assert found is not None and found.low is not None and found.high is not None
        missed += not found.low <= 0 <= found.high
        claimed += found.word not in ("undecided", "steady")
    tolerance = 4 * math.sqrt(0.05 * 0.95 / studies)
    assert 0.02 - tolerance <= missed / studies <= 0.05 + tolerance
    assert claimed / studies <= 0.05 + tolerance
