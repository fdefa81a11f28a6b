"""Which documents of a split are scored."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanochat.data.shard import Shard
from nanochat.tokenizer.base import Tokenizer


class ScoredDocument(NamedTuple):
    """A document as it is scored.

    hash: 16 hex digits of the whole text's hash, by which runs with different tokenizers are paired ·
    ids: beginning of text, then the tokens to predict · bytes: UTF-8 bytes those tokens stand for.
    """

    name: str
    hash: str
    ids: NDArray[Any]
    bytes: int


def select(
    shard: Shard, *, tokenizer: Tokenizer, max_bytes: int | None, document_bytes: int | None
) -> list[ScoredDocument]:
    """Distinct documents in the order of their hashes, the first ones that together reach `max_bytes` (null: all).

    The order has nothing to do with what the texts say, so the first ones are a fair sample, and the same for
    every tokenizer. Of a document longer than `document_bytes` only that beginning is taken, cut between
    characters.
    """
    _, order = np.unique(shard.hashes, return_index=True)  # sorted by hash; a text that occurs twice counts once
    names = shard.names()
    documents, total = [], 0
    for index in order.tolist():
        ids, size = shard.document(index), int(shard.document_bytes[index])
        if document_bytes is not None and size > document_bytes:
            ids, size = _beginning(ids, tokenizer, document_bytes)
        documents.append(ScoredDocument(names[index], f"{shard.hashes[index]:016x}", ids, size))
        total += size
        if max_bytes is not None and total >= max_bytes:
            break
    return documents


def _beginning(ids: NDArray[Any], tokenizer: Tokenizer, size: int) -> tuple[NDArray[Any], int]:
    """The text's first `size` bytes, less a character cut in two, tokenised anew as a text of its own."""
    text = tokenizer.decode_bytes(ids[1:])[:size].decode("utf-8", errors="ignore")
    return np.concatenate([ids[:1], tokenizer.encode(text).astype(ids.dtype)]), len(text.encode())
