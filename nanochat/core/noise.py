"""Noise while training (dropout, a router's exploration), the same however a run is cut up.

What a module draws is a pure function of (seed, place in the model, optimizer step, sequence), so that a run that
was stopped and resumed, or whose batch was split into other micro-batches, draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Noise(nn.Module):
    """A source of noise in one place of a model. It has no parameters; `key_noise` tells it where training is."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: tuple[int, ...] | None = None

    def uniform(self, *shape: int, batch: int, device: torch.device) -> Float[Tensor, "batch ..."]:
        """[batch, *shape] numbers in [0, 1), each sequence's from a generator of its own."""
        keys, self.keys = self.keys, None  # a second draw would be the first one again: one source for each place
        assert keys is not None, "noise is drawn once in a forward pass of training, after `key_noise`"
        assert len(keys) == batch, (len(keys), batch)
        rows = [torch.rand(shape, generator=torch.Generator(device).manual_seed(key), device=device) for key in keys]
        return torch.stack(rows)


def key_noise(model: nn.Module, *, seed: int, step: int, sequences: Sequence[int], at: str = "model") -> None:
    """Tell every source of noise which sequences the next forward pass reads, and at which optimizer step.

    at: the name of `model`, which places are named under.
    """
    for place, module in model.named_modules():
        if isinstance(module, Noise):
            module.keys = tuple(_key(f"noise:{seed}:{at}.{place}:{step}:{sequence}") for sequence in sequences)


class Dropout(nn.Module):
    """Sets a share of the elements to zero in training and scales up the rest (Srivastava et al., 2014)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.noise = Noise() if share else None

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        if self.noise is None or not self.training:
            return x
        kept = self.noise.uniform(*x.shape[1:], batch=len(x), device=x.device) >= self.share
        return x * kept / (1 - self.share)


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
