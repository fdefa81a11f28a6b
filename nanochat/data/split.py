"""Which split a document belongs to: decided by its text alone."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def document_hash(text: str) -> int:
    """The first 64 bits of the SHA-256 of the text: the document's name across tokenizers, machines and runs."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def split_of_hash(number: int, *, valid: float, test: float) -> Split:
    """The split of the document with this hash: the test share lies lowest, then valid, then train.

    So a change of `valid` never moves a document into or out of test.
    """
    place = number / 2.0**64
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def split_of(text: str, *, valid: float, test: float) -> Split:
    """The split of a text. Equal texts share it, so no copy of a test document is ever trained on."""
    return split_of_hash(document_hash(text), valid=valid, test=test)
