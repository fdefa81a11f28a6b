"""The synthetic source: its entropy is exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nanochat.data.synthetic import Source, SyntheticSpec

SPEC = SyntheticSpec(valid=0.05, test=0.1, seed=3, vocabulary=50, states=4, zipf=1.0, count=1500, length=12)


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return [document.text for document in SPEC.documents()]


def test_what_was_asked_for(documents):
    assert len(documents) == 1500
    assert all(len(text.split()) == 12 and text.endswith(" ") for text in documents)


def test_the_same_seed_the_same_texts(documents):
    assert [document.text for document in SPEC.documents()] == documents
    assert next(SPEC.replace(seed=4).documents()).text != documents[0]


def test_more_documents_begin_with_the_same(documents):
    assert [document.text for document in SPEC.replace(count=1600).documents()][:1500] == documents
    assert [document.text for document in SPEC.replace(count=10).documents()] == documents[:10]


def test_bits_of_the_text_converge_to_the_entropy(documents):
    """Within four standard errors of the ratio, for finite documents that all start in state 0."""
    source = SPEC.source()
    bits = np.array([source.bits(text) for text in documents])
    sizes = np.array([len(text.encode()) for text in documents])
    ratio, entropy = bits.sum() / sizes.sum(), SPEC.entropy()
    error = np.std(bits - ratio * sizes) / np.sqrt(len(bits)) / sizes.mean()
    assert abs(ratio - entropy) < 4 * error
    assert error < 0.01 * entropy


def test_expected_bits_by_enumeration():
    """Three words, two states: every document of four words, with its probability."""
    source = Source.draw(seed=1, vocabulary=3, states=2, zipf=0.7)
    texts = [" ".join(words) + " " for words in itertools.product(source.words, repeat=4)]
    bits = np.array([source.bits(text) for text in texts])
    p = 2.0**-bits
    assert p.sum() == pytest.approx(1)
    assert source.expected(4) == (pytest.approx(p @ bits), pytest.approx(p @ [len(text) for text in texts]))


def test_long_documents_approach_the_rate():
    source = SPEC.source()
    bits, size = source.expected(5000)
    per_word, per_byte = source.rate()
    assert bits / 5000 == pytest.approx(per_word, rel=1e-3)
    assert bits / size == pytest.approx(per_byte, rel=1e-3)
    assert source.stationary().sum() == pytest.approx(1)
    assert source.stationary().min() > 0


def test_one_state_is_zipf_without_memory():
    source = Source.draw(seed=1, vocabulary=20, states=1, zipf=1.0)
    assert source.rate()[0] == pytest.approx(-(source.p * np.log2(source.p)).sum())


def test_memory_helps():
    """A model that counts words but keeps no state pays more than the entropy rate."""
    source = SPEC.source()
    mixture = source.stationary() @ source.p
    assert -(mixture * np.log2(mixture)).sum() > source.rate()[0] + 0.1


def test_words_are_distinct():
    assert len(set(Source.draw(seed=0, vocabulary=10_000, states=1, zipf=1.0).words)) == 10_000
