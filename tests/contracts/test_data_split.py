"""The split of documents: by text alone, in the shares asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.core.errors import SpecError
from nanochat.core.spec import load
from nanochat.data.base import DataSpec
from nanochat.data.split import document_hash, split_of, split_of_hash

SHARES = st.floats(0, 0.5, exclude_max=True)


def test_shares_are_what_was_asked_for():
    splits = [split_of(f"document {i}", valid=0.05, test=0.1) for i in range(20_000)]
    assert splits.count("test") == pytest.approx(2000, abs=150)
    assert splits.count("valid") == pytest.approx(1000, abs=120)


def test_the_hash_stays_what_it_was():
    """SHA-256 of the UTF-8 text, first 64 bits: test sets of old runs and new ones must be the same."""
    assert f"{document_hash('ä text'):016x}" == "2c02224a3129416b"


@given(text=st.text(), valid=SHARES, test=SHARES, other=SHARES)
def test_a_change_of_valid_never_moves_test(text, valid, test, other):
    before, after = split_of(text, valid=valid, test=test), split_of(text, valid=other, test=test)
    assert (before == "test") == (after == "test")


@given(number=st.integers(0, 2**64 - 1))
def test_no_share_no_documents(number):
    assert split_of_hash(number, valid=0.0, test=0.0) == "train"


def test_something_must_be_left_to_train_on():
    data = {"_target_": "nanochat.data.stdlib.StdlibSpec", "valid": 0.5, "test": 0.5, "max_bytes": None}
    with pytest.raises(SpecError, match="leaves nothing to train on"):
        load(data, DataSpec, at="data")
