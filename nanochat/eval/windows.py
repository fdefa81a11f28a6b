"""Documents of any length, cut into windows of at most one context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray


class Batch(NamedTuple):
    """Some windows, one a row, padded on the right.

    inputs: ids to read · targets: the id after each · places: where each target stands in `Windows.ids` ·
    scored: which targets count: no padding, none that an earlier window has predicted · seen: how many tokens the
    model has read when it predicts each column's target.
    """

    inputs: Int[np.ndarray, "windows time"]
    targets: Int[np.ndarray, "windows time"]
    places: Int[np.ndarray, "windows time"]
    scored: Bool[np.ndarray, "windows time"]
    seen: Int[np.ndarray, " time"]


class Windows:
    """Every token of every document but its first is a target of exactly one window.

    The first window of a document reads its first `context` tokens. Each further one begins with the last
    `overlap` tokens that the one before has read: they are context, their targets have been counted already.

    ids: [tokens] all documents, one after the other · document_starts: [documents + 1] where each starts in it.
    """

    def __init__(self, documents: Sequence[NDArray[Any]], *, context: int, overlap: int) -> None:
        assert 0 <= overlap < context, "checked when the eval is resolved"
        self.ids: NDArray[np.int64] = np.concatenate(documents).astype(np.int64)
        lengths = np.array([len(ids) for ids in documents])
        self.document_starts = np.concatenate([[0], np.cumsum(lengths)])
        stride = context - overlap
        # The last token of a document is never read: nothing follows it.
        further = np.maximum(0, -(-(lengths - 1 - context) // stride))
        document = np.repeat(np.arange(len(lengths)), 1 + further)
        first_window = np.cumsum(1 + further) - (1 + further)
        offset = (np.arange(len(document)) - first_window[document]) * stride
        self._starts = self.document_starts[document] + offset
        self._lengths = np.minimum(context, lengths[document] - 1 - offset)
        self._skipped = np.where(offset > 0, overlap, 0)

    def batches(self, limit: int, *, padding: int) -> Iterator[Batch]:
        """All windows, longest first, as many at a time as hold at most `limit` tokens with their padding.

        Windows of like length share a batch, so little is padded; `padding` is the id that stands there.
        """
        order = np.argsort(-self._lengths, kind="stable")
        begin = 0
        while begin < len(order):
            width = int(self._lengths[order[begin]])
            rows = order[begin : begin + max(1, limit // width)]
            begin += len(rows)
            yield self._batch(rows, width, padding)

    def _batch(self, rows: NDArray[np.int64], width: int, padding: int) -> Batch:
        column = np.arange(width)
        inside = column < self._lengths[rows, None]
        places = np.where(inside, self._starts[rows, None] + column, 0)
        return Batch(
            inputs=np.where(inside, self.ids[places], padding),
            targets=self.ids[places + 1],
            places=places + 1,
            scored=inside & (column >= self._skipped[rows, None]),
            seen=column + 1,
        )
