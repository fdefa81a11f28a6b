"""Bits per byte: exact where the answer is known, and equal to its definition where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nanochat.core.errors import SpecError
from nanochat.data.corpus import prepare
from nanochat.data.split import document_hash
from nanochat.data.synthetic import SyntheticSpec
from nanochat.data.text import TextSpec
from nanochat.eval.bits_per_byte import BitsPerByteSpec, naive_score_tokens, score, score_tokens
from nanochat.eval.documents import ScoredDocument, select
from nanochat.eval.logits import LogitStatistics, naive_logit_statistics
from nanochat.eval.scores import Scores
from nanochat.eval.windows import Windows
from nanochat.tokenizer.byte import Byte, ByteSpec

TOKENIZER = Byte()
TEXTS = ["a", "words of a text", "x" * 7, "größer als ein Fenster " * 4, "0123456789", "b" * 8]


def scored(text: str) -> ScoredDocument:
    ids = np.concatenate([[TOKENIZER.bos], TOKENIZER.encode(text)])
    return ScoredDocument(text[:9], f"{document_hash(text):016x}", ids, len(text.encode()))


def run(model, texts: list[str] = TEXTS, **changes) -> Scores:
    settings = {"tokenizer": TOKENIZER, "context": 8, "overlap": 3, "batch": 2}
    return score(model, [scored(text) for text in texts], **{**settings, **changes})


class Counter(nn.Module):
    """A causal toy whose logits depend on every token read and on how many they were."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.randn(257, 16, generator=generator)
        self.head = torch.randn(16, 257, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        summed = self.embedding[tokens].cumsum(1)
        return torch.tanh(summed / torch.arange(1, tokens.shape[1] + 1)[:, None]) @ self.head


def naive(model, text: str, *, context: int, overlap: int) -> list[float]:
    """−ln p of each byte, one forward pass each, of what its window has read so far."""
    ids = [TOKENIZER.bos, *text.encode()]
    result = []
    for target in range(1, len(ids)):
        start = 0
        while target > start + context:
            start += context - overlap
        logits = model(torch.tensor([ids[start:target]]))[0, -1]
        result.append(-float(logits.log_softmax(-1)[ids[target]]))
    return result


@pytest.mark.parametrize(("context", "overlap"), [(8, 3), (8, 0), (8, 7), (1, 0), (100, 50), (200, 0)])
def test_equals_its_definition(context, overlap):
    scores = run(Counter(), context=context, overlap=overlap)
    for index, text in enumerate(TEXTS):
        expected = sum(naive(Counter(), text, context=context, overlap=overlap))
        assert scores.documents.nats[index] == pytest.approx(expected, rel=1e-5)
        assert scores.documents.tokens[index] == scores.documents.bytes[index] == len(text.encode())


def test_uniform_model_pays_the_logarithm_of_the_vocabulary():
    scores = run(lambda tokens: torch.zeros(*tokens.shape, 257))
    assert scores.bits_per_byte == pytest.approx(math.log2(257))
    assert scores.nats_per_token == pytest.approx(math.log(257))
    assert scores.perplexity == pytest.approx(257)


def test_known_probabilities():
    """A model that gives `a` probability 3/4 and `b` 1/8, whatever it has read."""
    p = torch.full((257,), 1 / 8 / 255)
    p[ord("a")], p[ord("b")] = 3 / 4, 1 / 8
    scores = run(lambda tokens: p.log().expand(*tokens.shape, 257), ["aab", "b", "aaaa" * 5])
    bits = np.array([2, 0, 20]) * -math.log2(3 / 4) + np.array([1, 1, 0]) * 3
    np.testing.assert_allclose(scores.documents.nats / math.log(2), bits, rtol=1e-6)
    assert scores.bits_per_byte == pytest.approx(bits.sum() / 24)
    assert scores.accuracy == pytest.approx(22 / 24)
    assert scores.documents.confidence == pytest.approx(3 / 4)


def test_batching_and_padding_change_nothing():
    alone = [run(Counter(), [text], batch=1) for text in TEXTS]
    for batch in (1, 2, 50):
        together = run(Counter(), batch=batch)
        np.testing.assert_allclose(together.documents.nats, [s.nats for s in alone], rtol=1e-6)
    assert (run(Counter()).documents.nats == run(Counter()).documents.nats).all()


def test_no_forward_pass_is_larger_than_asked_for():
    shapes = []

    def model(tokens: Tensor) -> Tensor:
        shapes.append(tuple(tokens.shape))
        return torch.zeros(*tokens.shape, 257)

    run(model, TEXTS * 5, batch=3)
    assert max(rows * width for rows, width in shapes) <= 3 * 8
    assert max(width for _, width in shapes) <= 8
    shapes.clear()
    run(model, ["ab"] * 48, batch=3)
    assert shapes == [(12, 2)] * 4  # as many short documents in a pass as have room


def test_a_model_without_numbers_is_not_hidden():
    scores = run(lambda tokens: torch.full((*tokens.shape, 257), math.nan))
    assert math.isnan(scores.bits_per_byte)
    assert math.isnan(scores.perplexity)


def test_bins_hold_every_token_once():
    counts = np.bincount(np.frombuffer("".join(TEXTS).encode(), dtype=np.uint8), minlength=257)
    scores = run(Counter(), counts=counts)
    for view in (scores.position, scores.frequency, scores.confidence):
        assert view.tally.tokens.sum() == scores.tokens
        assert view.tally.bytes.sum() == scores.bytes
        assert view.tally.nats.sum() == pytest.approx(scores.nats)
        assert view.tally.correct.sum() == scores.documents.correct.sum()
        assert (view.low < view.high).all()
    inside = scores.confidence.tally.confidence
    assert ((inside >= scores.confidence.low - 1e-6) & (inside <= scores.confidence.high + 1e-6)).all()


def test_bins_by_position_count_what_was_read():
    scores = run(Counter(), ["x" * 13], context=8, overlap=3)
    # The first window predicts with 1 … 8 tokens read, the second goes on with 4 … 8.
    expected = {(1, 2): 1, (2, 4): 2, (4, 8): 4 + 4, (8, 16): 1 + 1}
    low, high = scores.position.low.tolist(), scores.position.high.tolist()
    assert dict(zip(zip(low, high, strict=True), scores.position.tally.tokens, strict=True)) == expected


def test_bins_by_frequency_use_the_training_counts():
    counts = np.zeros(257, dtype=np.int64)
    counts[ord("a")], counts[ord("b")] = 50, 1
    scores = run(Counter(), ["aab", "c"], counts=counts)
    assert scores.frequency.low.tolist() == [0, 1, 10]
    assert scores.frequency.tally.tokens.tolist() == [1, 1, 2]


@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    context=st.integers(1, 12),
    overlap=st.integers(0, 11),
    limit=st.integers(1, 60),
)
def test_every_token_but_the_first_is_a_target_once(lengths, context, overlap, limit):
    overlap = min(overlap, context - 1)
    windows = Windows([np.arange(length) for length in lengths], context=context, overlap=overlap)
    targets = []
    for batch in windows.batches(limit, padding=-1):
        assert batch.inputs.shape[1] <= context
        assert batch.inputs.size <= max(limit, context)
        rows, columns = np.nonzero(batch.scored)
        targets += batch.places[rows, columns].tolist()
        # A document counts up from 0: what is read just before a target is one less.
        assert (batch.inputs[rows, columns] + 1 == batch.targets[rows, columns]).all()
        assert (batch.seen[columns] >= np.minimum(batch.targets[rows, columns], overlap + 1)).all()
    starts = np.cumsum([0, *lengths])[:-1]
    assert sorted(targets) == sorted(set(range(sum(lengths))) - set(starts.tolist()))


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fast_and_naive_token_scores_agree(everything, dtype, monkeypatch):
    monkeypatch.setattr("nanochat.eval.bits_per_byte.CHUNK_LOGITS", 50)
    logits = (3 * torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(0))).to(dtype)
    targets = torch.arange(15).reshape(3, 5) % 11
    wanted = torch.ones(3, 5, dtype=torch.bool) if everything else targets % 3 > 0
    fast, slow = score_tokens(logits, targets, wanted), naive_score_tokens(logits, targets, wanted)
    torch.testing.assert_close(fast, slow)
    assert fast.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logit_statistics_are_those_of_all_scored_positions(dtype, monkeypatch):
    """Chunk by chunk as by definition, one position for each target: neither padding nor overlap counts. No score
    changes by being watched."""
    monkeypatch.setattr("nanochat.eval.bits_per_byte.CHUNK_LOGITS", 600)
    counter, found, shown = Counter(), LogitStatistics(), []

    def model(tokens: Tensor) -> Tensor:
        return (4 * counter(tokens) - 20).to(dtype)

    def observe(logits: Tensor, log_total: Tensor) -> None:
        shown.append(logits.clone())
        found.add(logits, log_total)

    watched, plain = run(model, observe=observe), run(model)
    assert np.array_equal(watched.documents.nats, plain.documents.nats)
    assert sum(map(len, shown)) == found.positions == plain.tokens
    assert len(shown) > 10
    assert found.values() == pytest.approx(naive_logit_statistics(torch.cat(shown)), rel=1e-5)
    # From the texts themselves, one window each: nothing padded, nothing read twice.
    whole = LogitStatistics()
    run(model, context=200, overlap=0, batch=2, observe=whole.add)
    each = [model(torch.from_numpy(scored(text).ids)[None, :-1])[0].float() for text in TEXTS]
    assert whole.values() == pytest.approx(naive_logit_statistics(torch.cat(each)), rel=1e-5)


def test_the_statistics_of_a_uniform_and_a_certain_position():
    found = LogitStatistics()
    for row in ([0.0, 0.0, 0.0, 0.0], [100.0, -100.0, -100.0, -100.0]):
        logits = torch.tensor([row])
        found.add(logits, logits.logsumexp(-1))
    sd = math.sqrt((4 * 25**2 + 125**2 + 3 * 75**2) / 8)
    expected = {"logit_mean": -25, "logit_sd": sd, "logit_max": 50, "logit_entropy": math.log(4) / 2}
    assert found.values() == pytest.approx(expected)


class TestSelect:
    @pytest.fixture
    def corpus(self, tmp_path):
        path = tmp_path / "lines.txt"
        path.write_text("\n".join([*(f"Zeile {i} äöü" for i in range(100)), *["twice"] * 2, *["doppelt"] * 2]))
        data = TextSpec(path=str(path), field=None, document="line", valid=0.3, test=0.4)
        return prepare(data, ByteSpec(), cache=tmp_path / "cache", context=16)

    def take(self, corpus, *, max_bytes=None, document_bytes=None, split="test") -> list[ScoredDocument]:
        shard = getattr(corpus, split)
        return select(shard, tokenizer=corpus.tokenizer, max_bytes=max_bytes, document_bytes=document_bytes)

    def test_distinct_documents_in_hash_order(self, corpus):
        every = [document for split in ("train", "valid", "test") for document in self.take(corpus, split=split)]
        texts = [corpus.tokenizer.decode(document.ids) for document in every]
        assert len(set(texts)) == len(texts) == 102
        assert [document.hash for document in every] == [f"{document_hash(text):016x}" for text in texts]
        hashes = [document.hash for document in self.take(corpus)]
        assert hashes == sorted(hashes)

    def test_until_enough_bytes(self, corpus):
        every, some = self.take(corpus), self.take(corpus, max_bytes=100)
        assert [d.hash for d in some] == [d.hash for d in every][: len(some)]
        assert sum(d.bytes for d in some) >= 100 > sum(d.bytes for d in some[:-1])

    def test_the_beginning_of_long_documents(self, corpus):
        """`Zeile 1 äöü` cut at 9 bytes would end inside `ä`."""
        for document in self.take(corpus, document_bytes=9):
            text = corpus.tokenizer.decode(document.ids)
            assert text in {"twice", "doppelt"} or text.startswith("Zeile ")
            assert document.bytes == len(text.encode()) == len(document.ids) - 1 <= 9
            assert document.ids[0] == corpus.tokenizer.bos


def test_synthetic_text_is_scored_at_its_entropy(tmp_path):
    """A model that knows the source reaches, on the documents scored, exactly the bits that the source gives them."""
    data = SyntheticSpec(valid=0.3, test=0.3, seed=1, vocabulary=6, states=2, zipf=1.0, count=60, length=5)
    corpus = prepare(data, ByteSpec(), cache=tmp_path, context=8)
    source = data.source()

    def model(tokens: Tensor) -> Tensor:
        """Byte by byte: p(byte | text so far) from sums over all words that go on so."""
        logits = torch.full((*tokens.shape, 257), -math.inf)
        for row, ids in enumerate(tokens.tolist()):
            for column in range(len(ids)):
                *words, begun = corpus.tokenizer.decode(ids[: column + 1]).split(" ")
                if ids[column] == corpus.tokenizer.bos and column > 0:
                    break  # padding
                state = 0
                for word in words:
                    state = int(source.following[state, source.words.index(word)])
                for number, word in enumerate(source.words):
                    if (word + " ").startswith(begun) and len(word) >= len(begun):
                        byte = (word + " ").encode()[len(begun)]
                        total = torch.logaddexp(logits[row, column, byte], torch.tensor(source.p[state, number]).log())
                        logits[row, column, byte] = total
        return logits

    documents = select(corpus.test, tokenizer=corpus.tokenizer, max_bytes=None, document_bytes=None)[:8]
    scores = score(model, documents, tokenizer=corpus.tokenizer, context=64, overlap=32, batch=4)
    bits = [source.bits(corpus.tokenizer.decode(document.ids)) for document in documents]
    np.testing.assert_allclose(scores.documents.nats / math.log(2), bits, rtol=1e-5)


SPEC = {"valid_bytes": None, "test_bytes": None, "document_bytes": None, "batch": 1, "evaluations": 1}


def test_overlap_is_half_a_context_unless_given():
    assert BitsPerByteSpec(**SPEC, overlap=None).resolve(context=9).overlap == 4
    resolved = BitsPerByteSpec(**SPEC, overlap=0).resolve(context=9)
    assert resolved.overlap == 0
    assert resolved.resolve(context=9) == resolved


def test_overlap_must_leave_something_to_predict():
    with pytest.raises(SpecError, match="overlap=8: must be below context=8; try 4"):
        BitsPerByteSpec(**SPEC, overlap=8).resolve(context=8)
