"""What every tokenizer promises, and what training one may complain about."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nanochat.core.errors import MachineError, SpecError
from nanochat.tokenizer.base import Tokenizer, TokenizerSpec, id_dtype
from nanochat.tokenizer.byte import ByteSpec
from nanochat.tokenizer.sentencepiece import MODEL, SentencePieceSpec

TEXTS = [f"def call{i % 7}(x):\n\treturn  'wörd' + str({i})\n\n" for i in range(300)] + ["a ▁ b"] * 20


def sentencepiece(**changes) -> SentencePieceSpec:
    fields = {"vocab_size": 320, "kind": "bpe", "sample_bytes": None, "character_coverage": 0.9995}
    return SentencePieceSpec(**{**fields, **changes})


SPECS: dict[str, TokenizerSpec] = {
    "byte": ByteSpec(),
    "bpe": sentencepiece(kind="bpe"),
    "unigram": sentencepiece(kind="unigram"),
}


@pytest.fixture(scope="module", params=SPECS)
def spec(request) -> TokenizerSpec:
    return SPECS[request.param]


@pytest.fixture(scope="module")
def tokenizer(spec, tmp_path_factory) -> Tokenizer:
    return spec.prepare(lambda: TEXTS, tmp_path_factory.mktemp("tokenizer"))


# All of Unicode, half surrogate pairs aside: they are no text.
@given(text=st.text())
@example("")
@example("\0")
@example(" \r\n\t  ")
@example("▁")
@example("a▁▁ b ▁")
@example("<s></s><unk><0x41>")
@example(" ⁇ ▅ \ufeff\ufffd é e\u0301 🙂 \u2028")
@example(TEXTS[0])
def test_loses_nothing(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())
    assert tokenizer.bos not in ids
    assert ids.dtype == id_dtype(tokenizer.vocab_size)
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


def test_knows_its_size_beforehand(spec, tokenizer):
    assert spec.ids == tokenizer.vocab_size == len(tokenizer.token_bytes())


def test_special_tokens_stand_for_no_text(tokenizer):
    assert tokenizer.token_bytes()[tokenizer.bos] == 0
    assert tokenizer.decode([tokenizer.bos, *tokenizer.encode("hi"), tokenizer.bos]) == "hi"


def test_bytes_that_are_not_utf8_are_shown(tokenizer):
    ids = tokenizer.encode("é🙂")
    assert "\ufffd" in tokenizer.decode(ids[:-1])


def test_many_is_one_after_the_other(tokenizer):
    texts = ["", "one", "▁two▁", "wörd"]
    for together, alone in zip(tokenizer.encode_many(texts), map(tokenizer.encode, texts), strict=True):
        np.testing.assert_array_equal(together, alone)


def test_crosses_processes(tokenizer):
    again = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(again.encode(TEXTS[0]), tokenizer.encode(TEXTS[0]))


def test_wide_vocabularies_take_wider_ids():
    assert id_dtype(1 << 16) is np.uint16
    assert id_dtype((1 << 16) + 1) is np.int32


def test_training_shortens_the_text(tmp_path):
    tokenizer = sentencepiece().prepare(lambda: TEXTS, tmp_path)
    assert len(tokenizer.encode(TEXTS[0])) < len(TEXTS[0].encode()) / 2


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_training_is_deterministic(kind, tmp_path):
    spec = sentencepiece(kind=kind)
    for name in "ab":
        spec.prepare(lambda: TEXTS, tmp_path / name)
    assert (tmp_path / "a" / MODEL).read_bytes() == (tmp_path / "b" / MODEL).read_bytes()


def test_trained_once(tmp_path):
    first = sentencepiece().prepare(lambda: TEXTS, tmp_path)
    again = sentencepiece().prepare(lambda: pytest.fail("it is there already"), tmp_path)
    np.testing.assert_array_equal(first.encode(TEXTS[3]), again.encode(TEXTS[3]))


def test_trains_on_a_sample(tmp_path):
    def texts():
        yield "enough enough enough " * 50
        yield from ["of this text"] * 3
        pytest.fail("read on after sample_bytes")

    sentencepiece(vocab_size=270, sample_bytes=1070).prepare(texts, tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(("size", "rule"), [(100, "need"), (100_000, "only gives")])
def test_a_size_that_cannot_be_names_one_that_can(kind, size, rule, tmp_path):
    with pytest.raises(SpecError, match=rf"vocab_size={size}: .*{rule} (\d+).*try \d+ or (more|fewer)") as caught:
        sentencepiece(kind=kind, vocab_size=size).prepare(lambda: TEXTS, tmp_path)
    remedy = int(str(caught.value).split("try ")[1].split()[0])
    assert sentencepiece(kind=kind, vocab_size=remedy).prepare(lambda: TEXTS, tmp_path).vocab_size == remedy


def test_nothing_to_train_on_is_said(tmp_path):
    with pytest.raises(SpecError, match="cannot be trained"):
        sentencepiece().prepare(lambda: [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_model_is_refused(tmp_path):
    sentencepiece().prepare(lambda: TEXTS, tmp_path)
    (tmp_path / MODEL).write_bytes(b"no model")
    with pytest.raises(MachineError, match=MODEL):
        sentencepiece().prepare(lambda: TEXTS, tmp_path)


def test_an_unwritable_folder_is_said(tmp_path):
    blocked = Path(tmp_path, "file")
    blocked.write_text("in the way")
    with pytest.raises(MachineError, match="cannot be written"):
        sentencepiece().prepare(lambda: TEXTS, blocked / "folder")
