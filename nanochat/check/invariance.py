"""Ways to compute the same thing: pieces and the whole, alone and in company, once and again."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from nanochat.check.base import Result, failed, not_applicable, passed
from nanochat.check.probe import changed, reads_other_sequences
from nanochat.check.subject import Subject
from nanochat.trainer.module import Batch

CLOSE = 1e-4
"""Relative to the largest number: what another order of sums may change."""


def batch_independence(subject: Subject) -> Result:
    """A sequence's logits do not depend on its neighbours in the batch."""
    tokens = subject.inputs
    other = torch.cat([tokens[:1], (tokens[1:] + 1) % subject.vocab])
    if not changed(subject.logits(tokens), subject.logits(other), tolerance=1e-5)[0].any():
        return passed("a sequence's logits are the same in other company")
    guilty = next((part.name for part in subject.parts if reads_other_sequences(part)), "something outside the blocks")
    return failed(
        f"{guilty} reads other sequences of the batch",
        "Nothing may be computed over the batch axis: no batch norm, no softmax, mean or capacity over sequences.",
    )


def prefill_and_step(subject: Subject) -> Result:
    """Reading the prompt at once and then token by token gives the logits of the whole."""
    model, tokens, time = subject.shared, subject.inputs, subject.time
    whole, state, parts = subject.logits(tokens), None, []
    cuts = [0, *sorted({time // 2, time - 2, time - 1} - {0, -1}), time]
    for start, end in itertools.pairwise(cuts):
        output = subject.forward(model, tokens[:, start:end], state=state)
        state = output.state
        parts.append(output.logits)
    wrong = changed(whole, torch.cat(parts, 1), tolerance=CLOSE).flatten(2).any(-1).any(0)
    if not wrong.any():
        return passed("equal the full forward")
    return failed(
        f"decoding differs from the full forward from token {int(wrong.nonzero()[0])} on",
        "What the attention keeps as state must hold all that later tokens read, positions counted from its length.",
    )


def packed_documents(subject: Subject) -> Result:
    """Documents packed into one sequence get the logits that each gets alone."""
    tokens, time = subject.inputs, subject.time
    cut = max(1, time // 3)
    docs = (torch.arange(time, device=tokens.device) >= cut).long().expand(len(tokens), -1)
    packed = subject.logits(tokens, docs=docs)
    alone = torch.cat([subject.logits(tokens[:, :cut]), subject.logits(tokens[:, cut:])], 1)
    if not changed(alone, packed, tolerance=CLOSE).any():
        return passed("equal each document alone")
    found = "a packed document's logits differ from those it gets alone"
    if not subject.spec.batch.isolate:
        return not_applicable(f"{found}, which matters only with batch.isolate=true")
    return failed(
        found, "Keep to pairs of equal docs in the attention, and count positions from each document's start."
    )


def accumulation(subject: Subject) -> Result:
    """The gradients of one sequence at a time, added up, are those of the whole batch."""
    whole, parts = (_gradients(subject, micro=micro) for micro in (len(subject.inputs), 1))
    for name, gradient in whole.items():
        if name not in parts or changed(gradient, parts[name], tolerance=1e-3).any():
            return failed(
                f"accumulated gradients differ from the large batch's at {name}",
                "Losses are sums over tokens (the trainer divides), and auxiliary losses one value per sequence.",
            )
    return passed(f"{len(subject.inputs)} micro-batches of 1 sequence = 1 of {len(subject.inputs)}")


def _gradients(subject: Subject, *, micro: int) -> dict[str, Tensor]:
    module = subject.trainer(micro=micro)
    module.accumulate(Batch(subject.batch.tokens, subject.batch.docs))
    return {name: p.grad for name, p in module.trained.named_parameters() if p.grad is not None}


def determinism(subject: Subject) -> Result:
    """The model is a function of Spec and seed, and its outputs of its inputs."""
    first, again = subject.trainer().model.state_dict(), subject.trainer().model.state_dict()
    torn = [name for name in first if not torch.equal(first[name], again[name])]
    if torn:
        return failed(
            f"built twice from one seed, {torn[0]} differs", "Draw initial weights from the init's generator alone."
        )
    outputs = [subject.trained_logits(subject.inputs, torch_seed=seed) for seed in (0, 1)]
    if changed(*outputs).any():
        return failed(
            "the same batch gives other logits when torch's global generator stands elsewhere",
            "Draw noise through nanochat.core.noise, which a resumed run draws again (no nn.Dropout, no torch.rand).",
        )
    other = subject.spec.architecture.build(
        vocab=subject.vocab, context=subject.spec.context, seed=subject.spec.seed + 1
    )
    if all(torch.equal(a, b.to(a)) for a, b in zip(first.values(), other.state_dict().values(), strict=True)):
        return failed("another seed gives the same weights", "Let the init draw from the generator that it is handed.")
    return passed("one seed gives one model, another seed another")
