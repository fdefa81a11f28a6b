"""What the words and intervals promise, held against simulated studies. Tolerances are four standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from nanochat.stats.paired import compare, difference
from nanochat.stats.power import equivalence_power, power, seeds_needed
from tests.stats.studies import intervals, noise, slack

STUDIES = 20_000
KINDS = ["independent", "correlated", "heteroscedastic", "both"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortcut_is_compare(kind: str) -> None:
    scores = noise(kind, studies=40, arms=4, seeds=3, seed=7)
    low, high = intervals(scores)
    for study, table in enumerate(scores):
        found = compare(table)
        assert [pair.difference.low for pair in found] == pytest.approx(list(low[study]))
        assert [pair.difference.high for pair in found] == pytest.approx(list(high[study]))
        words = np.select([high[study] < 0, low[study] > 0], ["better", "worse"], "undecided")
        assert [pair.word for pair in found] == list(words)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("arms", [2, 4, 6])
def test_equal_arms_are_told_apart_in_at_most_five_percent_of_studies(arms: int, seeds: int, kind: str) -> None:
    low, high = intervals(noise(kind, studies=STUDIES, arms=arms, seeds=seeds, seed=arms * seeds))
    wrong = float(((low > 0) | (high < 0)).any(axis=1).mean())
    assert wrong <= 0.05 + slack(0.05, STUDIES)
    assert wrong >= (0.05 if arms == 2 else 0.025) - slack(0.05, STUDIES)  # and does not get there by saying nothing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_the_true_differences(seeds: int, kind: str) -> None:
    means = np.array([0.0, 0.5, 0.5, 4.0])
    scores = noise(kind, studies=STUDIES, arms=4, seeds=seeds, seed=seeds) + means[:, None]
    first, second = np.triu_indices(4, 1)
    truth = means[first] - means[second]
    low, high = intervals(scores)
    held = (low <= truth) & (truth <= high)
    own = 1 - 0.05 / 6
    assert held.mean(axis=0) == pytest.approx(np.full(6, own), abs=slack(own, STUDIES))
    assert held.all(axis=1).mean() >= 0.95 - slack(0.95, STUDIES)
    alone_low, alone_high = intervals(scores[:, :2])
    alone = ((alone_low <= truth[0]) & (truth[0] <= alone_high)).mean()
    assert alone == pytest.approx(0.95, abs=slack(0.95, STUDIES))


@pytest.mark.parametrize("seeds", [3, 5, 12])
@pytest.mark.parametrize("sd", [0.05, 0.3, 1.0])
def test_a_difference_of_the_rope_is_equivalent_in_at_most_five_percent(sd: float, seeds: int) -> None:
    random = np.random.default_rng(seeds)
    gaps = 1.0 + sd * random.normal(size=(STUDIES, 1, seeds))
    low, high = intervals(np.concatenate([gaps, np.zeros_like(gaps)], axis=1))
    rate = float(((low >= -1) & (high <= 1)).mean())
    assert rate <= 0.05
    assert rate == pytest.approx(
        equivalence_power(1.0, sd, seeds=seeds, alpha=0.05, rope=1.0), abs=slack(0.025, STUDIES)
    )
    if sd == 0.05:
        assert rate > 0.02  # the bound is nearly reached: half of 5%


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 15])
@pytest.mark.parametrize(("delta", "seeds"), [(0.0, 3), (1.0, 3), (1.0, 5), (2.0, 5), (0.5, 20)])
def test_power_is_the_rate_of_findings(delta: float, seeds: int, alpha: float) -> None:
    gaps = delta + np.random.default_rng(seeds).normal(size=(STUDIES, 1, seeds))
    low, high = intervals(np.concatenate([gaps, np.zeros_like(gaps)], axis=1), confidence=1 - alpha)
    expected = power(delta, 1.0, seeds=seeds, alpha=alpha)
    assert float(((low > 0) | (high < 0)).mean()) == pytest.approx(expected, abs=slack(expected, STUDIES))


@pytest.mark.parametrize("comparisons", [1, 6])
@pytest.mark.parametrize(("mean", "rope"), [(1.0, None), (-0.6, None), (0.0, 1.0), (0.3, 1.0), (0.8, 0.4)])
def test_the_seeds_needed_decide_and_one_less_does_not(mean: float, rope: float | None, comparisons: int) -> None:
    sample = np.array([-1.0, 0.0, 1.0])
    needed = seeds_needed(difference(sample + mean, np.zeros(3)), rope=rope, comparisons=comparisons)
    assert needed is not None and needed > 4
    for seeds, enough in ((needed, True), (needed - 1, False)):
        gaps = mean + np.random.default_rng(seeds).normal(size=(STUDIES, 1, seeds))
        low, high = intervals(np.concatenate([gaps, np.zeros_like(gaps)], axis=1), confidence=1 - 0.05 / comparisons)
        inside = (low >= -rope) & (high <= rope) if rope else np.zeros_like(low, dtype=bool)
        rate = float(((low > 0) | (high < 0) | inside).mean())
        assert (rate >= 0.8 - slack(0.8, STUDIES)) if enough else (rate < 0.8 + slack(0.8, STUDIES))
