"""The stream of training sequences against its definition, written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.data.sequences import Sequences, document_order
from nanochat.data.shard import Shard, ShardWriter
from nanochat.tokenizer.byte import Byte

BOS = Byte.bos


def shard_of(folder: Path, texts: list[str], fingerprint: str = "f") -> Shard:
    with ShardWriter(folder / "train", dtype="uint16", bos=BOS) as writer:
        for number, text in enumerate(texts):
            writer.add(Byte().encode(text), name=str(number), size=len(text.encode()), number=number)
    return Shard(folder / "train", dtype="uint16", fingerprint=fingerprint)


def naive_stream(texts: list[str], *, seed: int, epochs: int) -> tuple[list[int], list[int]]:
    """Tokens and document numbers of the whole stream."""
    tokens, docs = [], []
    for epoch in range(epochs):
        order = document_order("f", documents=len(texts), seed=seed, epoch=epoch)
        for place, index in enumerate(order):
            ids = [BOS, *texts[index].encode()]
            tokens += ids
            docs += [epoch * len(texts) + place] * len(ids)
    return tokens, docs


@given(
    texts=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8),
    context=st.integers(1, 9),
    seed=st.integers(0, 3),
    indices=st.lists(st.integers(0, 12), min_size=1, max_size=6),
)
def test_any_sequence_is_read_from_the_stream(texts, context, seed, indices, tmp_path_factory):
    texts = [*texts, "filler " * 2]  # longer than any context drawn
    sequences = Sequences(shard_of(tmp_path_factory.mktemp("shard"), texts), context=context, seed=seed)
    epochs = (13 * context) // sequences.epoch_tokens + 3
    tokens, docs = naive_stream(texts, seed=seed, epochs=epochs)
    for index in indices:  # in any order: no index depends on what was read before
        start = sequences.place(index) * context
        stop = start + context + 1
        np.testing.assert_array_equal(sequences[index].tokens, tokens[start:stop])
        np.testing.assert_array_equal(sequences[index].docs, docs[start:stop])


@given(context=st.integers(1, 40), first=st.integers(0, 30), count=st.integers(1, 30))
def test_a_batch_is_its_sequences(context, first, count, tmp_path_factory):
    shard = shard_of(tmp_path_factory.mktemp("shard"), ["alpha", "be", "gamma and more of it " * 2, "δ"])
    sequences = Sequences(shard, context=context, seed=1)
    batch = sequences.batch(first, count)
    alone = [sequences[index] for index in range(first, first + count)]
    np.testing.assert_array_equal(batch.tokens, np.stack([sequence.tokens for sequence in alone]))
    np.testing.assert_array_equal(batch.docs, np.stack([sequence.docs for sequence in alone]))
    assert batch.tokens.dtype == batch.docs.dtype == np.int64


@pytest.fixture
def shard(tmp_path) -> Shard:
    return shard_of(tmp_path, [f"document {i}" for i in range(40)])


def test_an_epoch_holds_every_document_once(shard):
    sequences = Sequences(shard, context=shard.tokens - 1, seed=0)
    tokens, docs = sequences[0]
    assert (tokens == BOS).sum() == len(np.unique(docs)) == shard.documents
    np.testing.assert_array_equal(np.sort(tokens), np.sort(shard.token_ids))


def test_neighbours_in_the_stream_share_one_token(shard):
    sequences = Sequences(shard, context=16, seed=0)
    by_place = {sequences.place(index): sequences[index] for index in range(3 * shard.tokens // 16)}
    pairs = [(by_place[place], by_place[place + 1]) for place in by_place if place + 1 in by_place]
    assert len(pairs) > 30
    assert all(one.tokens[-1] == next_one.tokens[0] for one, next_one in pairs)


@given(context=st.integers(1, 30), seed=st.integers(0, 3))
def test_every_piece_of_the_stream_comes_once_and_shuffled(context, seed, tmp_path_factory):
    sequences = Sequences(shard_of(tmp_path_factory.mktemp("shard"), ["abcdefgh " * 30]), context=context, seed=seed)
    size = sequences.epoch_tokens // context
    rounds = [[sequences.place(number * size + i) for i in range(size)] for number in range(2)]
    for number, places in enumerate(rounds):
        assert sorted(places) == list(range(number * size, (number + 1) * size))
    assert size < 20 or rounds[0] != sorted(rounds[0])
    assert size < 20 or rounds[1] != [size + place for place in rounds[0]]


def test_the_order_is_of_text_seed_and_epoch():
    orders = [
        document_order(fingerprint, documents=100, seed=seed, epoch=epoch)
        for fingerprint in ("a", "b")
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 8


def test_the_order_stays_what_it_was():
    """Runs are paired, and resumed, by this order: a change of numpy or of ours must not go unnoticed."""
    assert document_order("f", documents=8, seed=1, epoch=0).tolist() == [3, 5, 6, 1, 0, 7, 4, 2]


def test_how_much_was_covered(shard):
    sequences = Sequences(shard, context=16, seed=0)
    assert sequences.covered(0) == (0.0, 0.0)
    assert sequences.covered(shard.tokens // 2) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert sequences.covered(3 * shard.tokens) == (1.0, 3.0)
