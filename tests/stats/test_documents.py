"""The variance of new documents: against the mean squares of a two-way layout, and by coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nanochat.stats.documents import DocumentVariance, document_variance
from nanochat.stats.paired import Difference, difference

LN2 = math.log(2)


def crossed(random: np.random.Generator, *, seeds: int, documents: int, sds: tuple[float, float, float]) -> np.ndarray:
    """Differences in bits per byte around zero: effects of seeds, of documents and of both."""
    of_seed, of_document, of_both = sds
    return (
        of_seed * random.normal(size=(seeds, 1))
        + of_document * random.normal(size=documents)
        + of_both * random.normal(size=(seeds, documents))
    )


def judged(nats: np.ndarray, sizes: np.ndarray) -> tuple[Difference, Difference]:
    """The difference without and with the variance of documents."""
    nothing, scores = np.zeros_like(nats), nats.sum(axis=1) / LN2 / sizes.sum()
    found = document_variance(nats, nothing, sizes=sizes)
    return difference(scores, nothing[:, 0]), difference(scores, nothing[:, 0], documents=found)


def test_equal_documents_give_the_mean_squares_of_a_two_way_layout() -> None:
    n, j = 4, 25
    bits = crossed(np.random.default_rng(0), seeds=n, documents=j, sds=(1.0, 2.0, 0.5))
    of_seed, of_document = bits.mean(axis=1, keepdims=True), bits.mean(axis=0)
    ms_document = n * ((of_document - bits.mean()) ** 2).sum() / (j - 1)
    ms_both = ((bits - of_seed - of_document + bits.mean()) ** 2).sum() / (n - 1) / (j - 1)
    b = np.random.default_rng(1).uniform(size=bits.shape)
    found = document_variance(bits * 100 * LN2 + b, b, sizes=np.full(j, 100))
    assert found is not None
    assert found.variance == pytest.approx((ms_document - ms_both) / (n * j))
    assert 5 < found.df < j - 1


def test_it_estimates_the_documents_share_and_not_the_interaction() -> None:
    random = np.random.default_rng(2)

    def mean(sds: tuple[float, float, float]) -> float:
        found = [
            document_variance(bits * LN2, np.zeros_like(bits), sizes=np.ones(40))
            for bits in (crossed(random, seeds=5, documents=40, sds=sds) for _ in range(400))
        ]
        return float(np.mean([one.variance for one in found if one is not None]))

    assert mean((1.0, 2.0, 1.0)) == pytest.approx(4 / 40, rel=0.05)
    assert mean((1.0, 0.0, 2.0)) < 0.15 * (4 / 40 / 5) * 2  # only what clipping at zero leaves


def test_a_seed_that_failed_is_left_out_and_too_little_says_nothing() -> None:
    bits = crossed(np.random.default_rng(3), seeds=4, documents=10, sds=(1.0, 1.0, 1.0))
    nothing, sizes = np.zeros_like(bits), np.ones(10)
    broken = bits.copy()
    broken[1, 3] = math.nan
    assert document_variance(broken, nothing, sizes=sizes) == document_variance(
        bits[[0, 2, 3]], nothing[:3], sizes=sizes
    )
    assert document_variance(bits[:1], nothing[:1], sizes=sizes) is None
    assert document_variance(bits[:, :1], nothing[:, :1], sizes=sizes[:1]) is None
    assert document_variance(nothing, nothing, sizes=sizes) == DocumentVariance(variance=0.0, df=math.inf)


def test_a_constant_difference_per_byte_has_no_variance() -> None:
    """However unequal the documents: a ratio does not vary with the length of what is drawn."""
    sizes = np.random.default_rng(4).lognormal(5, 1.5, size=30)
    found = document_variance(np.outer([0.1, 0.2, 0.3], sizes), np.zeros((3, 30)), sizes=sizes)
    assert found is not None and found.variance < 1e-20


@pytest.mark.parametrize(
    ("sds", "most"),
    [
        ((0.1, 3.0, 1.0), 0.97),  # documents vary most
        ((1.0, 1.0, 1.0), 0.97),  # seeds vary most
        ((0.3, 1.7, 1.7), 0.97),  # all alike
        ((0.05, 0.1, 5.0), 0.985),  # what varies is both together: the clipping at zero errs on the safe side
    ],
    ids=["documents", "seeds", "alike", "interaction"],
)
@pytest.mark.parametrize(("seeds", "documents"), [(5, 200), (5, 30), (3, 100), (10, 50)])
def test_intervals_cover_new_seeds_and_documents(seeds, documents, sds, most: float) -> None:
    """95 ± 2% over 1000 studies, documents of unequal length.

    The interval over seeds alone misses new documents where they vary most.
    """
    random, plain, held = np.random.default_rng(9), [], []
    for _ in range(1000):
        sizes = random.lognormal(6, 0.8, size=documents)
        bits = crossed(random, seeds=seeds, documents=documents, sds=sds)
        for gap, covers in zip(judged(bits * sizes * LN2, sizes), (plain, held), strict=True):
            assert gap.low is not None and gap.high is not None
            covers.append(gap.low <= 0 <= gap.high)
    assert 0.93 <= np.mean(held) <= most
    if sds == (0.1, 3.0, 1.0):
        assert np.mean(plain) < 0.7


def test_a_few_long_documents_do_not_make_it_too_sure() -> None:
    """The longest of thirty holds more than a quarter of the bytes."""
    random, held = np.random.default_rng(1), []
    for _ in range(1500):
        sizes = random.lognormal(6, 1.5, size=30)
        bits = crossed(random, seeds=5, documents=30, sds=(0.1, 3.0, 1.0))
        _, gap = judged(bits * sizes * LN2, sizes)
        assert gap.low is not None and gap.high is not None
        held.append(gap.low <= 0 <= gap.high)
    assert np.mean(held) > 0.92


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_many_comparisons_of_three_seeds_keep_their_level(share: float) -> None:
    """At 1 − 0.05/15, by `share` of the variance from seeds; degrees of freedom alone would err up to 7 times."""
    random, studies, missed = np.random.default_rng(11), 6000, 0
    sample = random.normal(size=(studies, 3)) * math.sqrt(3 * share)
    of_documents = (1 - share) * random.chisquare(99, size=studies) / 99
    errors = math.sqrt(1 - share) * random.normal(size=studies)
    for gaps, variance, error in zip(sample, of_documents, errors, strict=True):
        documents = DocumentVariance(variance=float(variance), df=99.0)
        gap = difference(gaps + error, np.zeros(3), comparisons=15, documents=documents)
        assert gap.low is not None and gap.high is not None
        missed += not gap.low <= 0 <= gap.high
    assert missed / studies <= 0.05 / 15 + 4 * (0.05 / 15 / studies) ** 0.5
