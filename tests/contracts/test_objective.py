"""Objectives: what the logits are to predict, and how much it costs in nats."""

from __future__ import annotations

import math

import options
import pytest
import torch

from nanochat.core.compose import compose
from nanochat.core.spec import load
from nanochat.objective.base import ObjectiveSpec
from nanochat.objective.next_token import NextTokenSpec


def objective(name: str) -> ObjectiveSpec:
    return load(compose([f"objective={name}"])["objective"], ObjectiveSpec)


def example(vocab: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocab, (3, 6), generator=generator)
    return tokens, torch.randn(3, 5, vocab, generator=generator)


def naive_nats(logits: torch.Tensor, targets: torch.Tensor) -> float:
    total = 0.0
    for row, wanted in zip(logits.flatten(0, 1).tolist(), targets.flatten().tolist(), strict=True):
        total += math.log(sum(math.exp(x) for x in row)) - row[wanted]
    return total


@pytest.mark.parametrize("name", options.names("objective"))
def test_every_objective_sums_over_sequences(name):
    """A sum, so that micro-batches add up to the large batch."""
    spec = objective(name)
    tokens, logits = example()
    whole = spec.nats(logits, spec.targets(tokens))
    parts = sum(spec.nats(logits[i : i + 1], spec.targets(tokens[i : i + 1])) for i in range(3))
    assert whole.ndim == 0
    torch.testing.assert_close(whole, parts)


def test_the_target_is_the_next_token():
    tokens, _ = example()
    assert NextTokenSpec().targets(tokens).tolist() == [row[1:] for row in tokens.tolist()]


def test_the_loss_is_the_cross_entropy_in_nats():
    spec = NextTokenSpec()
    tokens, logits = example()
    assert spec.nats(logits, spec.targets(tokens)).item() == pytest.approx(naive_nats(logits, spec.targets(tokens)))
    flat = torch.zeros(3, 5, 11)
    assert spec.nats(flat, spec.targets(tokens)).item() == pytest.approx(15 * math.log(11))


def test_the_gradient_is_probability_minus_one_at_the_target():
    spec = NextTokenSpec()
    tokens, logits = example()
    logits.requires_grad_()
    spec.nats(logits, spec.targets(tokens)).backward()
    expected = logits.detach().softmax(-1) - torch.nn.functional.one_hot(spec.targets(tokens), 11)
    torch.testing.assert_close(logits.grad, expected)


def test_half_precision_logits_are_summed_in_full():
    spec = NextTokenSpec()
    tokens, logits = example()
    rounded = logits.bfloat16()
    found = spec.nats(rounded, spec.targets(tokens))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(naive_nats(rounded.float(), spec.targets(tokens)))
