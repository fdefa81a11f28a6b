"""Paired comparison: against scipy, and against what its confidence promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ttest_rel

from nanochat.stats.paired import difference, leader, verdicts

SCORES = arrays(float, st.tuples(st.integers(2, 4), st.integers(3, 6)), elements=st.floats(0.5, 3.0, width=32))


@pytest.mark.parametrize("comparisons", [1, 3, 6])
@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_the_interval_is_scipys(seeds: int, comparisons: int) -> None:
    a, b = np.random.default_rng(seeds).normal(size=(2, seeds))
    expected = ttest_rel(a, b).confidence_interval(1 - 0.05 / comparisons)
    gap = difference(a, b, comparisons=comparisons)
    assert gap.mean == pytest.approx((a - b).mean())
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))
    assert gap.seeds == seeds


@given(SCORES)
def test_word_and_interval_come_from_one_procedure(scores: np.ndarray) -> None:
    first, pairs = leader(scores), len(list(itertools.combinations(scores, 2)))
    assert first is not None
    for i, verdict in enumerate(verdicts(scores)):
        if i == first:
            assert verdict.difference is None
            continue
        assert verdict.difference == difference(scores[i], scores[first], comparisons=pairs)
        assert (verdict.word == "worse") == (verdict.difference.low is not None and verdict.difference.low > 0)


@given(SCORES, st.randoms(use_true_random=False))
def test_verdicts_do_not_depend_on_the_order_of_seeds(scores: np.ndarray, random) -> None:
    order = random.sample(range(scores.shape[1]), scores.shape[1])
    for one, other in zip(verdicts(scores), verdicts(scores[:, order]), strict=True):
        assert one.word == other.word
        if one.difference is not None and other.difference is not None:
            assert one.difference.mean == pytest.approx(other.difference.mean, abs=1e-12)


def test_fewer_than_three_seeds_decide_nothing() -> None:
    for verdict in verdicts(np.array([[1.0, 1.0], [9.0, 9.1]])):
        assert verdict.word == "undecided"
        assert verdict.difference is None or verdict.difference.low is verdict.difference.high is None


def test_a_clear_difference_is_found() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 5)) * 0.01
    words = [verdict.word for verdict in verdicts(noise + np.array([[2.0], [1.0], [3.0]]))]
    assert words == ["worse", "best", "worse"]


def test_equal_arms_are_undecided() -> None:
    assert [v.word for v in verdicts(np.ones((2, 4)))] == ["undecided", "undecided"]


def test_one_arm_has_nothing_to_be_compared_with() -> None:
    assert [v.word for v in verdicts(np.ones((1, 4)))] == ["alone"]


def test_an_arm_that_failed_does_not_lead_by_its_lucky_seeds() -> None:
    scores = np.array([[0.1, np.nan, np.nan, np.nan], [1.0, 1.1, 1.2, 1.3]])
    assert leader(scores) == 1
    assert verdicts(scores)[0].word == "undecided"


def test_an_arm_without_any_score_has_no_result() -> None:
    assert verdicts(np.array([[np.nan] * 3, [1.0, 1.1, 1.2]]))[0].word == "no result"
    assert {v.word for v in verdicts(np.full((2, 3), np.nan))} == {"no result"}


@pytest.mark.parametrize("arms", [2, 4])
def test_identical_arms_are_told_apart_in_at_most_five_percent(arms: int) -> None:
    """A/A: arms that differ by noise alone, the leader chosen after looking. 1200 studies, three sigma of slack."""
    random, studies = np.random.default_rng(1), 1200
    wrong = 0
    for _ in range(studies):
        shared = random.normal(size=5)
        scores = shared + random.normal(size=(arms, 5))
        wrong += any(verdict.word == "worse" for verdict in verdicts(scores))
    assert wrong / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5
