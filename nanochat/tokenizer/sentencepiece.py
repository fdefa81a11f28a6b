"""Subword tokenizers trained by SentencePiece, set up to lose nothing."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from nanochat.core.artifact import atomic_path
from nanochat.core.errors import MachineError, SpecError, spec_error
from nanochat.core.progress import quiet
from nanochat.core.spec import Count, Share
from nanochat.tokenizer.base import Tokenizer, TokenizerSpec, id_dtype

MODEL = "sentencepiece.model"

# The library writes spaces as this character, so the character itself has to go the way of the bytes.
SPACE = "\u2581"
BOS, UNKNOWN = 0, 1
# A trained model depends on the number of threads (sums of floats), so it is the same everywhere.
THREADS = 4
CHUNK_CHARACTERS = 1 << 20


class SentencePieceSpec(TokenizerSpec):
    """BPE (1508.07909) or unigram (1804.10959) pieces over the 256 bytes (SentencePiece, 1808.06226).

    vocab_size: all ids: pieces, 256 bytes, beginning of text and the library's `unknown`, which never occurs.
    kind: `bpe` or `unigram`. sample_bytes: train on the first documents of the training split up to this many UTF-8
    bytes; null = all. character_coverage: share of the characters of the text that get a piece of their own; the
    rarest others are written as bytes.
    """

    vocab_size: Count
    kind: Literal["bpe", "unigram"]
    sample_bytes: Count | None
    character_coverage: Share

    @property
    def ids(self) -> int:
        return self.vocab_size

    def prepare(self, texts: Callable[[], Iterable[str]], folder: Path) -> SentencePiece:
        path = folder / MODEL
        if not path.exists():
            model = self._train(texts())
            with atomic_path(path) as part:
                part.write_bytes(model)
        return SentencePiece(path)

    def _train(self, texts: Iterable[str]) -> bytes:
        """The serialised model."""
        if not quiet():
            print(f"training a {self.kind} tokenizer of {self.vocab_size} ids (seconds to minutes)", file=sys.stderr)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
                sentence_iterator=_training_pieces(texts, limit=self.sample_bytes),
                model_writer=model,
                model_type=self.kind,
                vocab_size=self.vocab_size,
                character_coverage=self.character_coverage,
                byte_fallback=True,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,  # indentation is one token, not one per space
                max_sentence_length=8 * CHUNK_CHARACTERS,  # the default would leave out long texts without a word
                bos_id=BOS,
                unk_id=UNKNOWN,
                eos_id=-1,
                pad_id=-1,
                num_threads=THREADS,
                minloglevel=3,
            )
        except RuntimeError as error:
            raise self._explain(str(error)) from None
        return model.getvalue()

    def _explain(self, message: str) -> SpecError:
        """The library's two complaints about the size, in our words."""
        small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
        if small:
            rule = f"the 256 bytes and the characters of the text need {small[1]} ids"
            return spec_error("vocab_size", self.vocab_size, rule, f"try {small[1]} or more")
        large = re.search(r"value <= (\d+)", message)
        if large:
            rule = f"the training text only gives {large[1]} pieces"
            return spec_error("vocab_size", self.vocab_size, rule, f"try {large[1]} or fewer, or give more text")
        return spec_error("vocab_size", self.vocab_size, f"cannot be trained on this text ({message.strip()})")


class SentencePiece(Tokenizer):
    """A trained model. Id 0 is the beginning of text."""

    bos = BOS

    def __init__(self, path: Path) -> None:
        """Reads the model at `path`; raises `MachineError` when it is damaged."""
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise MachineError(f"{path}: is damaged ({error}); remove {path.parent} to have it made again") from error
        self.vocab_size: int = self._processor.vocab_size()
        self._bytes = [self._bytes_of(number) for number in range(self.vocab_size)]
        self._escaped = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]

    def serialized(self) -> bytes:
        """The model in SentencePiece's own format."""
        return self._processor.serialized_model_proto()

    def encode(self, text: str) -> NDArray[np.integer]:
        segments = [self._processor.encode(segment) for segment in text.split(SPACE)]
        ids = segments[0]
        for segment in segments[1:]:
            ids = ids + self._escaped + segment
        return np.array(ids, dtype=id_dtype(self.vocab_size))

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        # Not the library's own decoding, which shows U+2581 as a space.
        return b"".join([self._bytes[number] for number in ids])

    def token_bytes(self) -> NDArray[np.int64]:
        return np.array([len(text) for text in self._bytes], dtype=np.int64)

    def _bytes_of(self, number: int) -> bytes:
        piece: str = self._processor.id_to_piece(number)
        if self._processor.is_byte(number):
            return bytes([int(piece[1:-1], 16)])
        if self._processor.is_control(number) or self._processor.is_unknown(number):
            return b""
        return piece.replace(SPACE, " ").encode()


def _training_pieces(texts: Iterable[str], *, limit: int | None) -> Iterator[str]:
    """What the trainer sees: the texts up to `limit` bytes, as they are encoded (without U+2581), in chunks."""
    seen = 0
    for text in texts:
        for segment in text.split(SPACE):
            for start in range(0, len(segment), CHUNK_CHARACTERS):
                yield segment[start : start + CHUNK_CHARACTERS]
        seen += len(text.encode())
        if limit is not None and seen >= limit:
            return
