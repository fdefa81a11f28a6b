"""Sampling from a model: read the prompt once, then one token at a time on the kept state."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nanochat.model.transformer import Transformer


def generate(
    model: Transformer,
    prompt: Int[Tensor, "batch time"],
    *,
    tokens: int,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator,
) -> Iterator[Int[Tensor, " batch"]]:
    """Yield `tokens` new tokens, one per sequence of the batch at a time.

    temperature: divides the logits; 0 takes the likeliest token. top_k: only the k likeliest are drawn; None all.
    generator: on the model's device; its state and the prompt alone decide the outcome.

    Up to the model's context every token sees all before it, exactly as in one full forward. A longer sequence is
    read again from its last context // 2 tokens, as if they were its beginning, each time that the context is full:
    positions that were never trained are never used, and a token sees at least half a context.
    """
    assert prompt.shape[1] > 0, "an empty prompt predicts nothing"
    was_training = model.training
    model.eval()
    try:
        sequence, state = prompt[:, -model.context :], None
        unread = sequence
        for _ in range(tokens):
            if state is not None and sequence.shape[1] > model.context:
                sequence = unread = sequence[:, -max(1, model.context // 2) :]
                state = None
            with torch.no_grad():
                output = model(unread, state=state)
            state = output.state
            unread = pick(output.logits[:, -1], temperature=temperature, top_k=top_k, generator=generator)[:, None]
            sequence = torch.cat([sequence, unread], dim=1)
            yield unread[:, 0]
    finally:
        model.train(was_training)


def pick(
    logits: Float[Tensor, "batch vocab"], *, temperature: float, top_k: int | None, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    """One token for each row of logits."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
