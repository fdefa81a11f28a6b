"""Paired comparison: against scipy, and what must hold for any scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t, ttest_rel

from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.documents import DocumentVariance
from nanochat.stats.paired import Comparison, Difference, Word, compare, difference, word

VALUES = st.floats(0.5, 3.0)
SCORES = arrays(float, st.tuples(st.integers(2, 4), st.integers(3, 6)), elements=VALUES | st.just(math.nan))
COMPLETE = arrays(float, st.tuples(st.integers(2, 4), st.integers(3, 6)), elements=VALUES)
PAIRS = arrays(float, st.tuples(st.just(2), st.integers(3, 6)), elements=VALUES)
ROPES = st.none() | st.floats(0, 2)
MIRRORED: dict[Word, Word] = {
    "better": "worse",
    "worse": "better",
    "equivalent": "equivalent",
    "undecided": "undecided",
}


def gap_from(low: float | None, high: float | None) -> Difference:
    middle = 0.0 if low is None or high is None else (low + high) / 2
    return Difference(mean=middle, sd=1.0, seeds=5, se=0.4, df=4.0, low=low, high=high, confidence=0.95)


@pytest.mark.parametrize("comparisons", [1, 3, 6])
@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_the_interval_is_scipys(seeds: int, comparisons: int) -> None:
    a, b = np.random.default_rng(seeds).normal(size=(2, seeds))
    expected = ttest_rel(a, b).confidence_interval(1 - 0.05 / comparisons)
    gap = difference(a, b, comparisons=comparisons)
    assert gap.mean == pytest.approx((a - b).mean())
    assert gap.sd == pytest.approx((a - b).std(ddof=1))
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))
    assert (gap.seeds, gap.df) == (seeds, seeds - 1)
    assert gap.confidence == pytest.approx(1 - 0.05 / comparisons)


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_interval_from_fewer_than_three_seeds(seeds: int) -> None:
    gap = difference(np.array([1.0, 1.1][:seeds]), np.array([9.0, 9.2][:seeds]))
    assert gap.low is gap.high is None
    assert (gap.sd is None) == (seeds == 1)
    assert word(gap, rope=100.0) == "undecided"


def test_a_missing_run_takes_its_seed_from_both() -> None:
    a, b = np.array([1.0, math.nan, 1.2, 1.5]), np.array([2.0, 2.0, 2.4, math.inf])
    gap = difference(a, b)
    assert (gap.mean, gap.seeds) == (pytest.approx(-1.1), 2)
    with pytest.raises(ValueError, match="no seed"):
        difference(np.array([1.0, math.nan]), np.array([math.nan, 1.0]))


@pytest.mark.parametrize(
    ("low", "high", "rope", "expected"),
    [
        (-3.0, -1.0, None, "better"),
        (1.0, 3.0, None, "worse"),
        (-1.0, 3.0, None, "undecided"),
        (-1.0, 1.0, 1.0, "equivalent"),
        (0.2, 0.8, 1.0, "equivalent"),  # excludes zero, but does not matter
        (0.2, 1.2, 1.0, "worse"),
        (-1.2, -0.2, 1.0, "better"),
        (-0.2, 1.2, 1.0, "undecided"),
        (-0.1, 0.1, 0.0, "undecided"),
        (0.0, 0.0, 0.0, "undecided"),
        (0.0, 0.0, 1.0, "equivalent"),
        (-1.0, 0.0, None, "undecided"),
        (None, None, 5.0, "undecided"),
    ],
)
def test_the_word_is_read_from_the_interval(low, high, rope, expected) -> None:
    assert word(gap_from(low, high), rope=rope) == expected


def test_runs_that_are_the_same_on_every_seed() -> None:
    """A knob that does nothing: no spread, an interval of one point, and equivalent once there is a rope."""
    same = np.array([1.1, 1.2, 1.3])
    gap = difference(same, same)
    assert (gap.mean, gap.sd, gap.low, gap.high) == (0, 0, 0, 0)
    assert word(gap, rope=None) == "undecided"
    assert word(gap, rope=1e-9) == "equivalent"
    assert word(difference(same, np.array([1.6, 1.7, 1.8])), rope=None) == "better"


def test_new_documents_widen_the_interval_by_satterthwaite() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 4))
    plain = difference(a, b)
    assert plain.se is not None and plain.low is not None and plain.high is not None
    gap = difference(a, b, documents=DocumentVariance(variance=plain.se**2, df=50.0))
    assert gap.se == pytest.approx(plain.se * math.sqrt(2))
    assert gap.df == pytest.approx(4 / (1 / 3 + 1 / 50))
    # At so few seeds the degrees of freedom gained would make it narrower: it stays as it was, and widens with more.
    assert (gap.low, gap.high) == (plain.low, plain.high)
    wider = difference(a, b, documents=DocumentVariance(variance=9 * plain.se**2, df=50.0))
    assert wider.low is not None and wider.se is not None and wider.df is not None and wider.low < plain.low
    assert wider.low == pytest.approx(wider.mean - t.isf(0.025, wider.df) * wider.se)
    assert difference(a, b, documents=DocumentVariance(variance=0.0, df=math.inf)) == plain


def test_documents_count_where_seeds_do_not_vary() -> None:
    gap = difference(np.full(3, 2.0), np.full(3, 1.0), documents=DocumentVariance(variance=0.25, df=30.0))
    assert (gap.se, gap.df) == (pytest.approx(0.5), pytest.approx(30))


@given(PAIRS, ROPES)
def test_swapping_the_arms_mirrors_interval_and_word(pair: np.ndarray, rope: float | None) -> None:
    gap, other = difference(pair[0], pair[1]), difference(pair[1], pair[0])
    assert other == gap.mirrored
    assert word(other, rope=rope) == MIRRORED[word(gap, rope=rope)]


@given(PAIRS, st.floats(-4, 4), st.floats(0.1, 10))
def test_a_shift_of_both_changes_nothing_and_a_scale_scales(pair: np.ndarray, shift: float, scale: float) -> None:
    gap, moved, scaled = (difference(p[0], p[1]) for p in (pair, pair + shift, pair * scale))
    for name in ("mean", "sd", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(gap, name), abs=1e-9)
        assert getattr(scaled, name) == pytest.approx(scale * getattr(gap, name), abs=1e-9)


def by_labels(found: list[Comparison], rows: list[int]) -> dict[frozenset[int], Comparison]:
    """Comparisons by the original labels of their rows, a the lower."""
    named = {}
    for pair in found:
        a, b, gap, said = rows[pair.a], rows[pair.b], pair.difference, pair.word
        if a > b:
            a, b, gap, said = b, a, gap.mirrored, MIRRORED[said]
        named[frozenset((a, b))] = Comparison(a=a, b=b, difference=gap, word=said)
    return named


@given(SCORES, ROPES, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_arms_and_seeds_does_not_matter(scores: np.ndarray, rope, against: bool, random) -> None:
    """To the last bit."""
    arms, seeds = scores.shape
    rows, columns = random.sample(range(arms), arms), random.sample(range(seeds), seeds)
    one = compare(scores, rope=rope, baseline=0 if against else None)
    other = compare(scores[rows][:, columns], rope=rope, baseline=rows.index(0) if against else None)
    assert by_labels(other, rows) == by_labels(one, list(range(arms)))


def test_the_order_of_many_seeds_does_not_matter_to_the_last_bit() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 17))
    for _ in range(20):
        order = random.permutation(17)
        assert difference(a[order], b[order]) == difference(a, b)


@given(SCORES, ROPES, st.integers(1, 3))
def test_every_pair_is_judged_and_paid_for(scores: np.ndarray, rope: float | None, families: int) -> None:
    arms = len(scores)
    pairs = [p for p in itertools.combinations(range(arms), 2) if np.isfinite(scores[p[0]] - scores[p[1]]).any()]
    found = compare(scores, rope=rope, families=families)
    assert [(pair.a, pair.b) for pair in found] == pairs
    for pair in found:
        paid = arms * (arms - 1) // 2 * families  # pairs without a shared seed still count
        assert pair.difference == difference(scores[pair.a], scores[pair.b], comparisons=paid)
        assert pair.word == word(pair.difference, rope=rope)


@given(COMPLETE)
def test_a_baseline_costs_fewer_comparisons(scores: np.ndarray) -> None:
    found = compare(scores, baseline=1)
    assert [(pair.a, pair.b) for pair in found] == [(i, 1) for i in range(len(scores)) if i != 1]
    for pair in found:
        assert pair.difference == difference(scores[pair.a], scores[1], comparisons=len(scores) - 1)


def test_documents_are_asked_for_by_row() -> None:
    scores = np.random.default_rng(3).normal(size=(3, 4))
    variances = {(0, 1): 1.0, (1, 2): 4.0}

    def documents(a: int, b: int) -> DocumentVariance | None:
        return DocumentVariance(variance=variances[a, b], df=20.0) if (a, b) in variances else None

    for pair in compare(scores, documents=documents):
        given_ = documents(pair.a, pair.b)
        assert pair.difference == difference(scores[pair.a], scores[pair.b], comparisons=3, documents=given_)


def test_no_arms_and_one_arm_have_no_comparisons() -> None:
    assert compare(np.ones((1, FEWEST_SEEDS))) == compare(np.ones((0, FEWEST_SEEDS))) == []
