"""Parameters that decide something."""

from __future__ import annotations

import torch

from nanochat.check.base import Result, failed, passed
from nanochat.check.learning import listed
from nanochat.check.subject import Subject


def dead_parameters(subject: Subject) -> Result:
    """Changing any parameter of the model changes its logits."""
    model, tokens = subject.model(), subject.inputs
    before = subject.forward(model, tokens).logits
    generator = torch.Generator().manual_seed(1)
    dead: set[str] = set()
    for name, parameter in model.named_parameters():
        kept = parameter.detach().clone()
        noise = torch.randn(parameter.shape, generator=generator).to(kept)
        size = kept.square().mean().sqrt().clamp(min=0.1)
        with torch.no_grad():
            parameter.add_(noise * size)
        after = subject.forward(model, tokens).logits
        with torch.no_grad():
            parameter.copy_(kept)
        if (after - before).abs().max() <= 1e-6 * before.abs().max():
            dead.add(name)
    if dead:
        return failed(
            f"changing {listed(dead)} changes no logit",
            "It is not used, or cancels (a bias on keys under softmax, a scale before a norm): take it out.",
        )
    return passed("changing any parameter changes the logits")
