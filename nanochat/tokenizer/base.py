"""The contract of tokenizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from nanochat.core.spec import Spec


class Tokenizer(ABC):
    """Text to ids and back. `decode(encode(text)) == text` for every text; corpora refuse a tokenizer that loses any.

    vocab_size: number of ids · bos: id of the beginning-of-text token, which `encode` never gives.
    """

    vocab_size: int
    bos: int

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.integer]:
        """The ids of `text`, without special tokens; dtype is `id_dtype(vocab_size)`."""

    def encode_many(self, texts: Sequence[str]) -> list[NDArray[np.integer]]:
        """`encode` of each text; a tokenizer with a faster way for many texts overrides it."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def token_bytes(self) -> NDArray[np.int64]:
        """For each id, how many UTF-8 bytes of text it stands for: [vocab_size]; 0 for special tokens."""

    @abstractmethod
    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """The UTF-8 bytes that `ids` stand for; special tokens stand for none."""

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text of `ids`. Bytes that are not UTF-8, as a model may sample, become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")


class TokenizerSpec(Spec):
    """Describes a tokenizer."""

    @property
    @abstractmethod
    def ids(self) -> int:
        """The `vocab_size` of the tokenizer, known before it is trained."""

    @abstractmethod
    def prepare(self, texts: Callable[[], Iterable[str]], folder: Path) -> Tokenizer:
        """The tokenizer kept in `folder`; where there is none yet it is trained on `texts()` and kept there.

        `texts` is called only to train. Raises `SpecError` when the text does not suffice for the fields, and
        `MachineError` when the folder cannot be written or what it holds is damaged.
        """


def id_dtype(vocab_size: int) -> type[np.uint16] | type[np.int32]:
    """The smaller of the two dtypes that token ids are kept in: uint16 up to 65,536 ids, else int32."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32
