"""The corpus cache: made once, whole or absent, refused when it is not what was written."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from nanochat.core.errors import MachineError, SpecError
from nanochat.core.spec import dump, load
from nanochat.data import corpus as corpus_module
from nanochat.data.base import DataSpec
from nanochat.data.corpus import prepare
from nanochat.data.split import document_hash, split_of
from nanochat.data.text import TextSpec
from nanochat.tokenizer.byte import Byte, ByteSpec
from nanochat.tokenizer.sentencepiece import SentencePieceSpec

LINES = [f"document {i} says {i * i}" for i in range(200)] + ["twice the same"] * 2


class Lower(Byte):
    def encode(self, text: str):
        return super().encode(text.lower())


class LowerSpec(ByteSpec):
    """A tokenizer that loses text."""

    def prepare(self, texts: Callable[[], Iterable[str]], folder: Path) -> Lower:
        return Lower()


@pytest.fixture
def data(tmp_path) -> TextSpec:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))
    return TextSpec(path=str(path), field=None, document=None, valid=0.2, test=0.2)


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir() and path.name != "contents"]


def test_every_document_in_its_split(data, cache):
    corpus = prepare(data, ByteSpec(), cache=cache, context=16)
    found = []
    for split in ("train", "valid", "test"):
        shard = getattr(corpus, split)
        texts = [corpus.tokenizer.decode(shard.document(i)) for i in range(shard.documents)]
        assert all(split_of(text, valid=0.2, test=0.2) == split for text in texts)
        assert all(shard.document(i)[0] == corpus.tokenizer.bos for i in range(shard.documents))
        assert [document_hash(text) for text in texts] == shard.hashes.tolist()
        assert [len(text.encode()) for text in texts] == shard.document_bytes.tolist()
        assert shard.tokens == shard.bytes + shard.documents == shard.starts[-1]
        assert corpus.split_bytes[split] == shard.bytes
        assert [LINES[int(name.split(":")[1]) - 1] for name in shard.names()] == texts
        found += texts
    assert sorted(found) == sorted(LINES)


def test_counts_are_of_the_training_split(data, cache):
    corpus = prepare(data, ByteSpec(), cache=cache, context=16)
    np.testing.assert_array_equal(corpus.counts, np.bincount(corpus.train.token_ids, minlength=257))


def test_made_once(data, cache, monkeypatch):
    first = prepare(data, ByteSpec(), cache=cache, context=16)
    monkeypatch.setattr(TextSpec, "documents", lambda self: pytest.fail("read again"))
    again = prepare(data, ByteSpec(), cache=cache, context=32)
    assert again.folder == first.folder
    np.testing.assert_array_equal(again.test.token_ids, first.test.token_ids)


def test_keyed_by_contents_shares_and_tokenizer(data, cache, tmp_path):
    copy = tmp_path / "copy.txt"
    shutil.copyfile(tmp_path / "lines.txt", copy)
    first = prepare(data, ByteSpec(), cache=cache, context=16).folder
    assert prepare(data.replace(path=str(copy)), ByteSpec(), cache=cache, context=16).folder == first
    assert prepare(data.replace(valid=0.3), ByteSpec(), cache=cache, context=16).folder != first
    trained = SentencePieceSpec(vocab_size=300, kind="bpe", sample_bytes=None, character_coverage=1.0)
    corpus = prepare(data, trained, cache=cache, context=16)
    assert corpus.folder != first
    assert corpus.tokenizer.vocab_size == 300
    assert corpus.train.tokens < corpus.train.bytes
    copy.write_text("\n".join([*LINES, "one more"]))
    assert prepare(data.replace(path=str(copy)), ByteSpec(), cache=cache, context=16).folder != first


def test_tokenizers_are_trained_on_the_training_split(data, cache, monkeypatch):
    seen = []

    def train(self, texts, folder):
        seen.extend(texts())
        return Byte()

    monkeypatch.setattr(ByteSpec, "prepare", train)
    prepare(data, ByteSpec(), cache=cache, context=16)
    assert seen
    assert all(split_of(text, valid=0.2, test=0.2) == "train" for text in seen)


def test_a_tokenizer_that_loses_text(data, cache, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES).replace("says", "Says"))
    with pytest.raises(SpecError, match=r"tokenizer: does not give back .* 'Says .* at character \d+ became 'says"):
        prepare(data, LowerSpec(), cache=cache, context=16)
    assert folders(cache) == []


@pytest.mark.parametrize(("split", "other"), [("valid", "test"), ("test", "valid")])
def test_an_empty_split(data, cache, split, other):
    with pytest.raises(SpecError, match=rf"data.{split}=1e-09: none of the 202 documents falls into this split; raise"):
        prepare(data.replace(**{split: 1e-9, other: 0.2}), ByteSpec(), cache=cache, context=16)


def test_nothing_left_to_train_on(data, cache):
    with pytest.raises(SpecError, match="data: none of the 202 documents is left to train on"):
        prepare(data.replace(valid=0.5, test=0.4999999), ByteSpec(), cache=cache, context=16)


def test_shorter_than_one_context(data, cache):
    tokens = prepare(data, ByteSpec(), cache=cache, context=16).train.tokens
    assert prepare(data, ByteSpec(), cache=cache, context=tokens - 1).train.tokens == tokens
    with pytest.raises(SpecError, match=f"data: the training split has .* one sequence of context={tokens} needs more"):
        prepare(data, ByteSpec(), cache=cache, context=tokens)


def test_bad_input_is_named_by_its_full_key(data, cache, tmp_path):
    with pytest.raises(SpecError, match=r"^data\.path=.*no such file"):
        prepare(data.replace(path=str(tmp_path / "nothing.txt")), ByteSpec(), cache=cache, context=16)
    trained = SentencePieceSpec(vocab_size=99, kind="bpe", sample_bytes=None, character_coverage=1.0)
    with pytest.raises(SpecError, match=r"^tokenizer\.vocab_size=99"):
        prepare(data, trained, cache=cache, context=16)
    assert folders(cache) == []


@pytest.mark.parametrize("name", ["train/tokens.bin", "valid/documents.npy", "counts.npy", "meta.json"])
@pytest.mark.parametrize("harm", ["changed", "cut", "missing"])
def test_a_damaged_cache_is_refused(data, cache, name, harm):
    folder = prepare(data, ByteSpec(), cache=cache, context=16).folder
    path = folder / name
    content = path.read_bytes()
    if harm == "changed":
        path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    elif harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    with pytest.raises(MachineError) as caught:
        prepare(data, ByteSpec(), cache=cache, context=16)
    assert str(path) in str(caught.value)
    assert "remove" in str(caught.value)
    shutil.rmtree(folder)
    assert prepare(data, ByteSpec(), cache=cache, context=16).folder == folder


def test_an_unwritable_cache(data, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(MachineError, match="cannot be written"):
        prepare(data, ByteSpec(), cache=blocked / "cache", context=16)


def test_a_text_that_changes_meanwhile(data, cache, monkeypatch):
    contents = data.contents(cache)
    monkeypatch.setattr(TextSpec, "contents", lambda self, cache: contents)
    Path(data.path).write_text("\n".join(reversed(LINES)))
    with pytest.raises(MachineError, match="changed while it was read"):
        prepare(data, ByteSpec(), cache=cache, context=16)
    assert folders(cache) == []


def test_a_killed_build_leaves_nothing_that_counts(data, cache, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(corpus_module, "_write_meta", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing
        with pytest.raises(KeyboardInterrupt):
            prepare(data, ByteSpec(), cache=cache, context=16)
    assert len(folders(cache)) == 1
    folder = prepare(data, ByteSpec(), cache=cache, context=16).folder
    assert folders(cache) == [folder]


def _prepare_and_note(path: str, cache: Path, barrier, note: Path) -> None:
    """In a process of its own: prepare, noting every time a corpus is built."""
    build = corpus_module._build

    def noted(*args, **kwargs):
        with note.open("a") as file:
            file.write("built\n")
        build(*args, **kwargs)

    corpus_module._build = noted
    data = TextSpec(path=path, field=None, document=None, valid=0.2, test=0.2)
    barrier.wait()
    assert prepare(data, ByteSpec(), cache=cache, context=16).train.tokens > 0


def test_two_processes_build_once(data, cache, tmp_path):
    fork = multiprocessing.get_context("fork")
    barrier, note = fork.Barrier(2), tmp_path / "note"
    pair = [fork.Process(target=_prepare_and_note, args=(data.path, cache, barrier, note)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(timeout=60)
    assert [process.exitcode for process in pair] == [0, 0]
    assert note.read_text() == "built\n"


def test_specs_survive_json(data):
    assert load(json.loads(json.dumps(dump(data))), DataSpec) == data
