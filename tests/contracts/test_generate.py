"""Sampling: the kept state, temperature, top_k, generators, and sequences beyond the context."""

from __future__ import annotations

import options
import pytest
import torch
from torch import Tensor

from nanochat.model.generate import generate, pick
from nanochat.model.transformer import Transformer

CONTEXT = 16


def model_of(*overrides: str) -> Transformer:
    return options.architecture(*overrides, context=CONTEXT).build(vocab=options.VOCAB, context=CONTEXT, seed=1)


def sample(model: Transformer, prompt: Tensor, *, tokens: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    steps = generate(model, prompt, tokens=tokens, temperature=temperature, top_k=None, generator=generator)
    return torch.stack(list(steps), dim=1)


def naive(model: Transformer, prompt: Tensor, *, tokens: int, seed: int) -> Tensor:
    """One full forward for every token; the window is cut to half a context each time that it is full."""
    generator, window, drawn = torch.Generator().manual_seed(seed), prompt[:, -CONTEXT:], []
    for _ in range(tokens):
        if window.shape[1] > CONTEXT:
            window = window[:, -CONTEXT // 2 :]
        with torch.no_grad():
            probabilities = model(window).logits[:, -1].softmax(-1)
        drawn.append(torch.multinomial(probabilities, 1, generator=generator))
        window = torch.cat([window, drawn[-1]], dim=1)
    return torch.cat(drawn, dim=1)


@pytest.mark.parametrize("attention", options.names("attention"))
@pytest.mark.parametrize("length", [1, 10, 16, 40])
def test_sampling_equals_full_forwards_also_beyond_the_context(attention: str, length: int):
    model = model_of(f"attention={attention}")
    prompt = torch.arange(2 * length).view(2, length) % options.VOCAB
    assert torch.equal(sample(model, prompt, tokens=30, seed=4), naive(model, prompt, tokens=30, seed=4))


def test_a_seed_decides():
    model, prompt = model_of(), torch.tensor([[1, 2, 3]])
    assert torch.equal(sample(model, prompt, tokens=20), sample(model, prompt, tokens=20))
    assert not torch.equal(sample(model, prompt, tokens=20), sample(model, prompt, tokens=20, seed=1))
    greedy = sample(model, prompt, tokens=8, temperature=0, seed=1)
    assert torch.equal(greedy, sample(model, prompt, tokens=8, temperature=0, seed=2))
    assert model.training, "sampling leaves the model as it was"


def test_top_k_and_temperature():
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).expand(500, -1)
    drawn = pick(logits, temperature=1.0, top_k=2, generator=generator)
    assert set(drawn.tolist()) == {1, 3}
    assert (pick(logits, temperature=1.0, top_k=9, generator=generator) == 0).any()
    assert (pick(logits, temperature=0.01, top_k=None, generator=generator) == 1).all()
    assert (pick(logits, temperature=0, top_k=None, generator=generator) == 1).all()
