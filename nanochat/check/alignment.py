"""The target of position t is token t+1, and sequences are stretches of the documents."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nanochat.check.base import Result, failed, passed
from nanochat.check.subject import Subject
from nanochat.data.sequences import document_order
from nanochat.data.split import document_hash
from nanochat.trainer.module import LanguageModel

OFFSETS = range(-2, 5)
SURE = 20.0
"""The logit of an oracle's answer; all others are 0."""

REMEDY = "Inputs are tokens[:, :-1] and targets tokens[:, 1:], shifted once and in one place only."


def target_alignment(subject: Subject) -> Result:
    """`targets` gives the next tokens, and `measure` is lowest for a model that knows them."""
    stretch = random_stretch(subject)
    tokens = stretch[:, -OFFSETS[0] : -OFFSETS[0] + subject.time + 1]
    targets = subject.spec.objective.targets(tokens)
    if targets.shape != subject.inputs[:2].shape:
        sizes = f"{targets.shape[1]} targets for {subject.time} inputs"
        return failed(f"input and target are misaligned: {sizes}", REMEDY)
    found = named_offset(stretch, targets)
    if found is None:
        return failed("input and target are misaligned: the targets are no stretch of the tokens", REMEDY)
    if found != 1:
        return failed(f"input and target are misaligned: {_said(found)}", REMEDY)
    module = subject.trainer().eval()
    followed = min(OFFSETS, key=lambda offset: oracle_loss(module, stretch, time=subject.time, offset=offset))
    if followed != 1:
        where = "the objective's measure() shifts once more"
        return failed(f"input and target are misaligned: {_said(followed)} ({where})", REMEDY)
    return passed("position t is asked for token t+1")


def _said(offset: int) -> str:
    asked = (
        f"position t is asked for token t{offset:+d}" if offset else "position t is asked for token t, its own input"
    )
    meaning = ", which it has seen: the loss measures copying" if offset <= 0 else ", not the next one"
    return asked + meaning


def random_stretch(subject: Subject) -> Int[Tensor, "batch longer"]:
    """Random tokens, with room for every offset before and after a sequence's T+1."""
    generator = torch.Generator().manual_seed(0)
    length = subject.time + 1 + OFFSETS[-1] - OFFSETS[0]
    return torch.randint(subject.vocab, (2, length), generator=generator).to(subject.inputs)


def named_offset(stretch: Int[Tensor, "batch longer"], targets: Tensor) -> int | None:
    """How far after its input each target lies, None where they are no stretch of the tokens."""
    length = targets.shape[1]
    for offset in sorted(OFFSETS, key=lambda offset: abs(offset - 1)):
        meant = stretch[:, offset - OFFSETS[0] : offset - OFFSETS[0] + length]
        # What lies outside the sequence, a target can only have made up.
        inside = slice(max(0, -offset), length - max(0, offset - 1))
        if meant[:, inside].numel() and torch.equal(meant[:, inside], targets[:, inside]):
            return offset
    return None


def oracle_loss(module: LanguageModel, stretch: Int[Tensor, "batch longer"], *, time: int, offset: int) -> float:
    """What the objective minimises for a model that is sure of the token `offset` after each of its inputs."""
    begin = -OFFSETS[0]

    def oracle(_: Any, inputs: Any, output: Any) -> Any:
        length = inputs[0].shape[1]
        place = begin + int(not torch.equal(inputs[0], stretch[:, begin : begin + length]))
        answers = stretch[:, place + offset : place + offset + length]
        return output._replace(logits=_sure(answers, like=output.logits))

    handle = module.model.register_forward_hook(oracle)
    try:
        with torch.no_grad():
            tokens = stretch[:, begin : begin + time + 1]
            return float(module.objective.measure(module.model, module.extra, tokens, docs=None).minimised)
    finally:
        handle.remove()


def _sure(answers: Int[Tensor, "batch time"], *, like: Float[Tensor, "batch time vocab"]) -> Tensor:
    return torch.zeros_like(like).scatter_(2, answers[..., None], SURE)


def data_slicing(subject: Subject) -> Result:
    """Each sequence is a stretch of its documents, the next begins where it ends, and no document overlaps another."""
    for mistake in (_outside(subject), _torn(subject), _apart(subject), _overlapping(subject)):
        if mistake:
            return failed(
                f"data slicing: {mistake}", "Hand over whole documents, each once: sequences are cut from them later."
            )
    return passed("sequences are unbroken stretches of the documents")


def _outside(subject: Subject) -> str:
    ids = subject.batch.tokens
    wrong = ids[(ids < 0) | (ids >= subject.vocab)]
    return f"token {int(wrong[0])} is outside the vocabulary of {subject.vocab}" if len(wrong) else ""


def _torn(subject: Subject) -> str:
    """Every run of one document number in the batch is found, unbroken, in that document's own tokens."""
    shard, sequences = subject.corpus.train, subject.sequences
    tokens, docs = subject.batch.tokens.cpu().numpy(), subject.batch.docs.cpu().numpy()
    orders: dict[int, Any] = {}
    for row, numbers in zip(tokens, docs, strict=True):
        for number in dict.fromkeys(numbers.tolist()):
            epoch, place = divmod(number, shard.documents)
            if epoch not in orders:
                orders[epoch] = document_order(
                    shard.fingerprint, documents=shard.documents, seed=sequences.seed, epoch=epoch
                )
            piece = row[numbers == number]
            whole = shard.document(int(orders[epoch][place]))
            windows = np.lib.stride_tricks.sliding_window_view(whole, len(piece)) if len(piece) <= len(whole) else []
            if not (len(windows) and (windows == piece).all(-1).any()):
                return "a sequence is no unbroken stretch of its document"
    return ""


def _apart(subject: Subject) -> str:
    """Of two pieces that follow each other in the stream, the second begins with the last token of the first."""
    sequences = subject.sequences
    count = min(4096, sequences.epoch_tokens // sequences.context)
    index_at = {sequences.place(index): index for index in range(count)}
    follower = next((index_at[place + 1] for place in index_at if place + 1 in index_at), None)
    if follower is None:
        return ""
    before = index_at[sequences.place(follower) - 1]
    if sequences[before].tokens[-1] != sequences[follower].tokens[0]:
        return "the last target of a piece is not the first input of the next: tokens are lost or seen twice"
    return ""


def _overlapping(subject: Subject) -> str:
    """Sliding windows in place of documents put the same text into training and test."""
    documents = list(itertools.islice(subject.spec.data.documents(), 65))
    pairs = [(a, b) for a, b in itertools.pairwise(documents) if len(b.text) >= 32]
    repeated = sum(_middle(b.text) in a.text for a, b in pairs)
    if len(pairs) >= 4 and repeated > len(pairs) / 2:
        return f"{repeated} of {len(pairs)} documents repeat the text of the one before: input and target misaligned"
    return _misread(subject, documents)


def _misread(subject: Subject, documents: list[Any]) -> str:
    """A document's tokens are those of its text."""
    shard, tokenizer = subject.corpus.train, subject.corpus.tokenizer
    index_of = {int(number): index for index, number in enumerate(shard.hashes)}
    for document in documents:
        index = index_of.get(document_hash(document.text))
        if index is not None:
            same = np.array_equal(shard.document(index)[1:], tokenizer.encode(document.text))
            return "" if same else f"the tokens of '{document.name}' are not those of its text"
    return ""


def _middle(text: str, size: int = 48) -> str:
    start = max(0, (len(text) - size) // 2)
    return text[start : start + size]
