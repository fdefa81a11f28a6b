"""Bits per byte: how well a model predicts whole documents, whatever its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nanochat.core.errors import spec_error
from nanochat.core.spec import Count, Spec
from nanochat.core.spec import Int as Whole
from nanochat.eval.documents import ScoredDocument
from nanochat.eval.scores import Predictions, Scores, bins, tally
from nanochat.eval.windows import Windows
from nanochat.tokenizer.base import Tokenizer

LogitsOf = Callable[[Int[Tensor, "batch time"]], Float[Tensor, "batch time vocab"]]
# Is shown scored positions' logits in float32, some at a time, and the logsumexp of each.
Observer = Callable[[Float[Tensor, "positions vocab"], Float[Tensor, " positions"]], None]

# Logits worked on at a time: what fits a processor's cache is twice as fast as a pass over all of them.
CHUNK_LOGITS = 1 << 18

CONFIDENCE_EDGES = np.linspace(0, 1, 21)
FREQUENCY_EDGES = np.array([0, *10.0 ** np.arange(0, 13)])


class BitsPerByteSpec(Spec):
    """How a run is scored.

    valid_bytes, test_bytes: whole documents in the order of their hashes until this many UTF-8 bytes; null = all.
    document_bytes: of longer documents only the beginning, so that the same bytes hold more documents; null = whole.
    overlap: tokens of context at the start of every further window of a long document; null = context // 2.
    batch: full contexts per forward pass (shorter windows are taken in greater number).
    evaluations: passes over the valid split during a run, evenly spaced, the last at its end.
    """

    valid_bytes: Count | None
    test_bytes: Count | None
    document_bytes: Annotated[Whole, Field(ge=4)] | None
    overlap: Annotated[Whole, Field(ge=0)] | None
    batch: Count
    evaluations: Count

    def resolve(self, *, context: int) -> Self:
        """Fill `overlap`. Raises `SpecError` when it leaves a window nothing new to predict."""
        overlap = context // 2 if self.overlap is None else self.overlap
        if overlap >= context:
            raise spec_error("overlap", overlap, f"must be below context={context}", f"try {context // 2}")
        return self.replace(overlap=overlap)


@torch.inference_mode()
def score(
    model_logits: LogitsOf,
    documents: Sequence[ScoredDocument],
    *,
    tokenizer: Tokenizer,
    context: int,
    overlap: int,
    batch: int,
    device: torch.device | str = "cpu",
    counts: NDArray[np.int64] | None = None,
    observe: Observer | None = None,
) -> Scores:
    """−ln p of every token of every document but its beginning of text, each document by itself.

    `model_logits` maps ids [batch, time ≤ context] to logits for the id after each, reading none that come later: a
    window's padding then changes nothing. Log-probabilities are taken in float32 and summed in float64.
    counts: [vocab] of the training split, for the bins by frequency (without: all in the first bin).
    observe: is shown the logits behind every score; padding and the overlap's are not among them.
    """
    windows = Windows([document.ids for document in documents], context=context, overlap=overlap)
    # −ln p, probability of the likeliest token, whether that was right: stays on the device until all is scored.
    values = torch.zeros(3, len(windows.ids), device=device)
    seen = np.zeros(len(windows.ids), dtype=np.int64)
    for part in windows.batches(batch * context, padding=tokenizer.bos):
        places = part.places[part.scored]
        seen[places] = np.broadcast_to(part.seen, part.scored.shape)[part.scored]
        logits = model_logits(torch.from_numpy(part.inputs).to(device))
        targets = torch.from_numpy(part.targets).to(device)
        scored = torch.from_numpy(part.scored)
        values[:, torch.from_numpy(places).to(device)] = score_tokens(logits, targets, scored, observe=observe)
    target = np.ones(len(windows.ids), dtype=bool)
    target[windows.document_starts[:-1]] = False
    ids = windows.ids[target]
    nats, confidence, correct = values.cpu().numpy()[:, target]
    return summarise(
        documents,
        Predictions(
            size=tokenizer.token_bytes()[ids],
            seen=seen[target],
            frequency=np.zeros_like(ids) if counts is None else counts[ids],
            nats=nats,
            confidence=confidence,
            correct=correct > 0,
        ),
    )


def score_tokens(
    logits: Float[Tensor, "batch time vocab"],
    targets: Int[Tensor, "batch time"],
    scored: Bool[Tensor, "batch time"],
    *,
    observe: Observer | None = None,
) -> Float[Tensor, "3 scored"]:
    """For each scored target: −ln p, the highest probability, and 1 where that is the target's, else 0.

    `scored` lies on the CPU, so that nothing waits for a GPU to count.
    """
    flat, wanted = logits.flatten(0, 1), targets.flatten()
    if not scored.all():
        rows = scored.flatten().nonzero()[:, 0].to(logits.device)
        flat, wanted = flat[rows], wanted[rows]
    size = max(1, CHUNK_LOGITS // logits.shape[-1])
    results = []
    for part, target in zip(flat.split(size), wanted.split(size), strict=True):
        part = part.float()
        total = part.logsumexp(-1)
        top, choice = part.max(-1)
        nats = total - part.gather(-1, target[:, None])[:, 0]
        results.append(torch.stack([nats, (top - total).exp(), (choice == target).float()]))
        if observe is not None:
            observe(part, total)
    return torch.cat(results, dim=1)


def naive_score_tokens(
    logits: Float[Tensor, "batch time vocab"],
    targets: Int[Tensor, "batch time"],
    scored: Bool[Tensor, "batch time"],
) -> Float[Tensor, "3 scored"]:
    """The definition of `score_tokens`."""
    log_p = logits.float().log_softmax(-1)
    nats = -log_p.gather(-1, targets[..., None])[..., 0]
    top, choice = log_p.max(-1)
    return torch.stack([nats, top.exp(), (choice == targets).float()])[:, scored]


def summarise(documents: Sequence[ScoredDocument], predictions: Predictions) -> Scores:
    """The predictions of all documents, in their order, summed up."""
    lengths = np.array([len(document.ids) - 1 for document in documents])
    sums = tally(predictions, np.repeat(np.arange(len(documents)), lengths), len(documents))
    position_edges = 2.0 ** np.arange(int(predictions.seen.max()).bit_length() + 1)
    return Scores(
        names=tuple(document.name for document in documents),
        hashes=tuple(document.hash for document in documents),
        documents=sums._replace(bytes=np.array([document.bytes for document in documents])),
        position=bins(predictions, predictions.seen, position_edges),
        frequency=bins(predictions, predictions.frequency, FREQUENCY_EDGES),
        confidence=bins(predictions, predictions.confidence, CONFIDENCE_EDGES),
    )
