"""Standings: one word an arm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nanochat.stats.paired import compare, difference
from nanochat.stats.standing import Standing, leader, standings

NAN = np.nan
NOISE = np.random.default_rng(0).normal(size=(3, 5)) * 0.01
SCORES = arrays(float, st.tuples(st.integers(2, 4), st.integers(3, 6)), elements=st.floats(0.5, 3.0))


def stand(scores: np.ndarray, *, rope: float | None = None, baseline: int | None = None) -> list[Standing]:
    return standings(scores, comparisons=compare(scores, rope=rope, baseline=baseline), baseline=baseline)


def words(scores: np.ndarray, *, rope: float | None = None, baseline: int | None = None) -> list[str]:
    return [standing.word for standing in stand(scores, rope=rope, baseline=baseline)]


@pytest.mark.parametrize(
    ("means", "rope", "expected"),
    [
        ([2.0, 1.0, 3.0], None, ["worse", "best", "worse"]),
        ([1.0, 1.0, 3.0], None, ["undecided", "undecided", "worse"]),
        ([1.0, 1.0, 3.0], 0.5, ["equivalent", "equivalent", "worse"]),
        ([1.0, 1.0, 1.0], 0.5, ["equivalent", "equivalent", "equivalent"]),
    ],
)
def test_words_against_the_leader(means: list[float], rope: float | None, expected: list[str]) -> None:
    assert words(NOISE + np.array(means)[:, None], rope=rope) == expected


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([2.0, 1.0, 3.0], ["baseline", "better", "worse"]),
        ([2.0, 2.0, 1.0], ["baseline", "equivalent", "better"]),
    ],
)
def test_words_against_a_baseline(means: list[float], expected: list[str]) -> None:
    assert words(NOISE + np.array(means)[:, None], rope=0.5, baseline=0) == expected


@given(SCORES)
def test_the_difference_is_the_arms_minus_the_leaders(scores: np.ndarray) -> None:
    first = leader(scores)
    assert first is not None
    assert scores[first].mean() == min(row.mean() for row in scores)
    for arm, standing in enumerate(stand(scores)):
        paid = len(scores) * (len(scores) - 1) // 2
        expected = None if arm == first else difference(scores[arm], scores[first], comparisons=paid)
        assert standing.difference == expected


@given(SCORES, st.none() | st.floats(0.01, 2), st.randoms(use_true_random=False))
def test_the_order_of_arms_and_seeds_does_not_matter(scores: np.ndarray, rope, random) -> None:
    means = np.sort(scores.mean(axis=1))
    assume((np.diff(means) > 1e-9).all())  # which of two equal arms leads is a matter of order
    rows = random.sample(range(len(scores)), len(scores))
    columns = random.sample(range(scores.shape[1]), scores.shape[1])
    one, other = stand(scores, rope=rope), stand(scores[rows][:, columns], rope=rope)
    assert other == [one[row] for row in rows]


def test_one_arm_has_nothing_to_be_compared_with() -> None:
    assert words(np.ones((1, 4))) == ["alone"]


def test_two_seeds_decide_nothing() -> None:
    assert words(np.array([[1.0, 1.0], [9.0, 9.1]]), rope=100.0) == ["undecided", "undecided"]


def test_an_arm_that_failed_does_not_lead_by_its_lucky_seeds() -> None:
    scores = np.array([[0.1, NAN, NAN, NAN], [1.0, 1.1, 1.2, 1.3]])
    assert leader(scores) == 1
    assert words(scores) == ["undecided", "undecided"]
    most = np.array([[0.1, 0.11, 0.12, NAN], [1.0, 1.01, 1.02, 1.03]])
    assert leader(most) == 1
    standing = stand(most)[0]
    assert standing.difference is not None and standing.difference.mean < 0
    assert standing.word == "undecided"  # better on three seeds, failed on one: not worse, not the leader


def test_an_arm_without_any_score_has_no_result() -> None:
    assert words(np.array([[NAN] * 3, [1.0, 1.1, 1.2]])) == ["no result", "undecided"]
    assert words(np.full((2, 3), NAN)) == ["no result", "no result"]
    assert leader(np.full((2, 3), NAN)) is None
    assert words(np.array([[NAN] * 3, [1.0, 1.1, 1.2]]), baseline=0) == ["no result", "undecided"]


def test_arms_without_a_shared_seed_are_undecided() -> None:
    scores = np.array([[1.0, 1.0, 1.0, NAN, NAN], [NAN, NAN, NAN, 9.0, 9.0]])
    assert stand(scores)[1] == Standing(word="undecided", difference=None)
