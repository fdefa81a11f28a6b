"""Looking early: the error spent, look by look, and the intervals at each look."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm, t

from nanochat.stats.paired import compare, difference
from nanochat.stats.sequential import Spending, boundaries, level_at, spent
from tests.stats.studies import slack, t_statistics

LOOKS = (3, 5, 8)
SPENDINGS: list[Spending] = ["obrien_fleming", "pocock", "linear"]
STUDIES = 150_000


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 15])
@pytest.mark.parametrize("looks", [LOOKS, (3, 4, 6, 10)])
def test_the_error_spent_by_each_look_is_the_spending_function(looks, alpha: float, spending: Spending) -> None:
    found = np.abs(t_statistics(np.random.default_rng(5).normal(size=(STUDIES, looks[-1])), looks=looks))
    crossed = np.logical_or.accumulate(found >= boundaries(looks, alpha=alpha, spending=spending), axis=1)
    for n, rate in zip(looks, crossed.mean(axis=0), strict=True):
        expected = spent(n / looks[-1], alpha=alpha, spending=spending)
        assert rate == pytest.approx(expected, abs=slack(expected, STUDIES) + 0.003 * expected + 1 / STUDIES)


def test_the_usual_boundaries_err_too_often() -> None:
    """Normal-theory O'Brien–Fleming limits, and the same t test at every look: neither keeps five percent."""
    found = np.abs(t_statistics(np.random.default_rng(5).normal(size=(STUDIES, 8)), looks=LOOKS))
    normal = norm.isf(0.025) / np.sqrt(np.array(LOOKS) / 8)
    assert (found >= normal).any(axis=1).mean() > 0.075
    assert (found >= t.isf(0.025, np.array(LOOKS) - 1)).any(axis=1).mean() > 0.09


@pytest.mark.parametrize("spending", SPENDINGS)
def test_the_first_look_is_exact_and_a_single_look_is_the_t_test(spending: Spending) -> None:
    alpha = 0.05 / 15
    first = boundaries(LOOKS, alpha=alpha, spending=spending)[0]
    assert first == pytest.approx(t.isf(spent(3 / 8, alpha=alpha, spending=spending) / 2, 2), rel=1e-9)
    assert boundaries((5,), alpha=alpha, spending=spending) == pytest.approx([t.isf(alpha / 2, 4)])


@pytest.mark.parametrize("spending", SPENDINGS)
def test_all_is_spent_at_the_end_and_never_less_than_before(spending: Spending) -> None:
    shares = [spent(f, alpha=0.01, spending=spending) for f in np.linspace(0.1, 1, 10)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.01)


@pytest.mark.parametrize("looks", [(), (2, 5), (3, 3), (5, 3)])
def test_looks_must_increase_from_three(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="increase from at least 3"):
        boundaries(looks, alpha=0.05)


def test_between_two_looks_the_stricter_level_holds() -> None:
    def level(seeds: int) -> float:
        return level_at(seeds, looks=LOOKS, alpha=0.05)

    assert level(3) < level(5) < level(8) < 0.05
    assert level(4) == level(3)
    assert level(6) == level(7) == level(5)
    assert level(2) == level(3)
    assert level(9) == level(8)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("seeds", LOOKS)
def test_the_interval_at_a_look_uses_its_boundary(seeds: int, spending: Spending) -> None:
    a, b = np.random.default_rng(seeds).normal(size=(2, seeds))
    gap = difference(a, b, comparisons=3, looks=LOOKS, spending=spending)
    critical = boundaries(LOOKS, alpha=0.05 / 3, spending=spending)[LOOKS.index(seeds)]
    assert gap.se is not None and gap.low is not None and gap.high is not None
    assert (gap.high - gap.low) / 2 == pytest.approx(critical * gap.se)
    assert gap.confidence == pytest.approx(1 - level_at(seeds, looks=LOOKS, alpha=0.05 / 3, spending=spending))
    whole = compare(np.stack([a, b, a + 1]), looks=LOOKS, spending=spending)
    assert whole[0].difference == gap


@pytest.mark.parametrize("spending", SPENDINGS)
def test_a_study_of_four_arms_keeps_its_error_and_all_its_intervals_hold(spending: Spending) -> None:
    """Every pair at every look: any finding among equal arms, or any interval that misses, in at most 5%."""
    studies, means = 20_000, np.array([0.0, 0.0, 1.0, 5.0])
    random = np.random.default_rng(2)
    errors = random.normal(size=(studies, 4, 8)) + random.normal(size=(studies, 1, 8))
    scores, pairs = errors + means[:, None], list(itertools.combinations(range(4), 2))
    critical = boundaries(LOOKS, alpha=0.05 / len(pairs), spending=spending)
    missed, found = np.zeros(studies, dtype=bool), []
    for a, b in pairs:
        missed |= (np.abs(t_statistics(errors[:, a] - errors[:, b], looks=LOOKS)) >= critical).any(axis=1)
        found.append((np.abs(t_statistics(scores[:, a] - scores[:, b], looks=LOOKS)) >= critical).any(axis=1).mean())
    assert 0.025 < missed.mean() <= 0.05 + slack(0.05, studies)
    assert found[0] <= 0.05 / 6 + slack(0.05 / 6, studies)
    assert found[2] > 0.75  # and a difference of 3.5 standard deviations is found


def test_looking_early_finds_large_differences_early() -> None:
    gaps = 3 + np.random.default_rng(4).normal(size=(20_000, 8))
    crossed = np.abs(t_statistics(gaps, looks=LOOKS)) >= boundaries(LOOKS, alpha=0.05, spending="pocock")
    assert crossed[:, 0].mean() > 0.3
    assert crossed[:, :2].any(axis=1).mean() > 0.75
    assert crossed.any(axis=1).mean() > 0.99


def test_another_simulation_gives_the_same_boundaries() -> None:
    one, other = (boundaries(LOOKS, alpha=0.05 / 15, seed=seed) for seed in (0, 1))
    assert one == pytest.approx(other, rel=0.005)
    assert math.isfinite(boundaries((3, 100), alpha=0.05 / 15)[0])
