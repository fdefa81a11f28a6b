"""Bytes as tokens: nothing to train, nothing to lose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from nanochat.tokenizer.base import Tokenizer, TokenizerSpec

BYTES = 256


class ByteSpec(TokenizerSpec):
    """The 256 bytes of UTF-8 and one beginning-of-text token (the vocabulary of ByT5, 2105.13626, less its spares)."""

    @property
    def ids(self) -> int:
        return Byte.vocab_size

    def prepare(self, texts: Callable[[], Iterable[str]], folder: Path) -> Byte:
        """Ready at once: neither `texts` nor `folder` is touched."""
        return Byte()


class Byte(Tokenizer):
    """Ids 0…255 are the bytes themselves, 256 is the beginning of text."""

    vocab_size = BYTES + 1
    bos = BYTES

    def encode(self, text: str) -> NDArray[np.uint16]:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        return array[array < BYTES].astype(np.uint8).tobytes()

    def token_bytes(self) -> NDArray[np.int64]:
        return (np.arange(self.vocab_size) < BYTES).astype(np.int64)
