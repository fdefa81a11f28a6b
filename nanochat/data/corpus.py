"""From documents to token shards, once: a cache that is keyed by contents and built by one process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanochat.core.artifact import locked, read_json, sha256_file, writable, write_json
from nanochat.core.errors import MachineError, SpecError, spec_error
from nanochat.core.progress import track
from nanochat.core.spec import dump, hash_of
from nanochat.data.base import Contents, DataSpec, Document
from nanochat.data.shard import TOKENS, Shard, ShardWriter
from nanochat.data.split import SPLITS, Split, document_hash, split_of_hash
from nanochat.tokenizer.base import Tokenizer, TokenizerSpec, id_dtype

# Raised when the files of a cached corpus change, so that older ones are left alone and made again.
FORMAT = 1
META, TOKENIZER, COUNTS = "meta.json", "tokenizer", "counts.npy"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A tokenised corpus. counts: [vocab] how often each id occurs in train (beginning of text included)."""

    tokenizer: Tokenizer
    train: Shard
    valid: Shard
    test: Shard
    fingerprint: str
    counts: NDArray[np.int64]
    folder: Path

    @property
    def split_bytes(self) -> dict[str, int]:
        """UTF-8 bytes of text in each split."""
        return {"train": self.train.bytes, "valid": self.valid.bytes, "test": self.test.bytes}


def prepare(data: DataSpec, tokenizer: TokenizerSpec, *, cache: Path, context: int) -> Corpus:
    """Open the tokenised corpus in `cache`, making it first where it is not there yet.

    The folder's name is the hash of the texts' fingerprint, the shares and the tokenizer's Spec. Of several
    processes that ask at once one makes it; the others wait. Raises `SpecError` with full keys (`data.valid`) for
    bad input, an empty split, a corpus shorter than one sequence of `context` tokens and a tokenizer that loses
    text; `MachineError` when the cache cannot be written or is damaged.
    """
    try:
        contents = data.contents(cache)
    except SpecError as error:
        raise error.under("data") from None
    _refuse_empty_splits(data, contents)
    key = hash_of([FORMAT, contents.fingerprint, data.valid, data.test, dump(tokenizer)])
    folder = cache / key
    if not folder.exists():
        with locked(cache / f"{key}.lock"):
            if not folder.exists():  # another process may have made it while we waited
                _build(data, tokenizer, contents, folder=folder)
    corpus = _open(tokenizer, folder)
    if corpus.train.tokens < context + 1:
        rule = f"the training split has {corpus.train.tokens:,} tokens, one sequence of context={context} needs more"
        raise spec_error("data", None, rule, f"give more text, or a context below {corpus.train.tokens}")
    return corpus


def _refuse_empty_splits(data: DataSpec, contents: Contents) -> None:
    total = sum(contents.documents.values())
    if total == 0:
        raise spec_error("data", None, f"holds no text ({data.describe()})")
    for split in ("valid", "test"):
        if contents.documents[split] == 0:
            counted = "the only document does not fall" if total == 1 else f"none of the {total:,} documents falls"
            remedy = f"raise the share, or {data.more_documents}"
            raise spec_error(f"data.{split}", getattr(data, split), f"{counted} into this split", remedy)
    if contents.documents["train"] == 0:
        raise spec_error("data", None, f"none of the {total:,} documents is left to train on", "lower valid and test")


def _build(data: DataSpec, spec: TokenizerSpec, contents: Contents, *, folder: Path) -> None:
    """Make the corpus in a folder beside `folder` and rename it: what bears the final name is whole."""
    for left_over in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a process that died; we hold the lock
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with writable(folder):
        part.mkdir(parents=True)
    try:
        tokenizer = _prepare_tokenizer(data, spec, part / TOKENIZER)
        _write_shards(data, tokenizer, contents, folder=part)
        _count(part, tokenizer)
        _write_meta(contents, tokenizer, folder=part)
        with writable(folder):
            part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _prepare_tokenizer(data: DataSpec, spec: TokenizerSpec, folder: Path) -> Tokenizer:
    """The tokenizer, trained on the training split alone."""

    def texts():
        for document in data.documents():
            if _split(data, document_hash(document.text)) == "train":
                yield document.text

    try:
        return spec.prepare(texts, folder)
    except SpecError as error:
        raise error.under("tokenizer") from None


def _write_shards(data: DataSpec, tokenizer: Tokenizer, contents: Contents, *, folder: Path) -> None:
    dtype = np.dtype(id_dtype(tokenizer.vocab_size)).name
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        writers = {
            split: stack.enter_context(ShardWriter(folder / split, dtype=dtype, bos=tokenizer.bos)) for split in SPLITS
        }
        total = sum(contents.documents.values())
        for document in track(data.documents(), total=total, label="tokenising"):
            number = document_hash(document.text)
            digest.update(number.to_bytes(8, "big"))
            split = _split(data, number)
            ids = tokenizer.encode(document.text)
            if split != "train":
                _refuse_loss(document, tokenizer.decode(ids))
            writers[split].add(ids, name=document.name, size=len(document.text.encode()), number=number)
    if digest.hexdigest() != contents.fingerprint:
        raise MachineError(f"{data.describe()}: changed while it was read; try again when nothing writes to it")


def _count(folder: Path, tokenizer: Tokenizer) -> None:
    """Keep how often each id occurs in the training split, reading some 8 MB at a time."""
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    ids = np.memmap(folder / "train" / TOKENS, dtype=id_dtype(tokenizer.vocab_size), mode="r")
    for start in range(0, len(ids), 1 << 20):
        counts += np.bincount(ids[start : start + (1 << 20)], minlength=len(counts))
    with writable(folder):
        np.save(folder / COUNTS, counts)


def _split(data: DataSpec, number: int) -> Split:
    return split_of_hash(number, valid=data.valid, test=data.test)


def _refuse_loss(document: Document, decoded: str) -> None:
    """Bits per byte would be of another text than the one that is divided by."""
    if decoded == document.text:
        return
    pairs = zip(document.text, decoded, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(document.text), len(decoded)))
    was, became = document.text[place : place + 12], decoded[place : place + 12]
    rule = f"does not give back the text of '{document.name}': {was!r} at character {place} became {became!r}"
    raise spec_error("tokenizer", None, rule, "choose one that loses nothing, such as tokenizer=byte")


def _write_meta(contents: Contents, tokenizer: Tokenizer, *, folder: Path) -> None:
    """Written last: sizes and hashes of all other files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        with writable(path), path.open("rb") as file:
            os.fsync(file.fileno())
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in paths
    }
    dtype = np.dtype(id_dtype(tokenizer.vocab_size)).name
    meta = {"fingerprint": contents.fingerprint, "dtype": dtype, "files": files}
    write_json(folder / META, {**meta, "check": hash_of(meta)})


def _open(spec: TokenizerSpec, folder: Path) -> Corpus:
    try:
        meta = read_json(folder / META)
    except (OSError, MachineError) as error:
        raise _damaged(folder, META, "is missing or no JSON") from error
    if not isinstance(meta, dict) or meta.pop("check", None) != hash_of(meta):
        raise _damaged(folder, META, "is not what was written")
    _verify(meta["files"], folder)
    tokenizer = spec.prepare(lambda: (), folder / TOKENIZER)
    shards = {s: Shard(folder / s, dtype=meta["dtype"], fingerprint=meta["fingerprint"]) for s in SPLITS}
    counts = np.load(folder / COUNTS)
    return Corpus(tokenizer=tokenizer, fingerprint=meta["fingerprint"], counts=counts, folder=folder, **shards)


def _verify(files: dict[str, Any], folder: Path) -> None:
    """Every file has the size and the hash that it was written with (SHA-256 reads over 1 GB/s)."""
    for name, expected in track(files.items(), total=len(files), label="checking the corpus"):
        path = folder / name
        size = path.stat().st_size if path.exists() else None
        if size != expected["size"]:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise _damaged(folder, name, f"{found}, written were {expected['size']:,}")
        if sha256_file(path) != expected["sha256"]:
            raise _damaged(folder, name, "is not what was written (its SHA-256 differs)")


def _damaged(folder: Path, name: str, what: str) -> MachineError:
    return MachineError(f"{folder / name}: {what}; remove {folder} to have the corpus made again")
