"""The contract of an initialisation: every parameter draws from a generator of its own."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

import torch
from torch import Tensor, nn

from nanochat.core.spec import Spec


class InitSpec(Spec):
    """Describes what a model's weights start from.

    A weight depends on (seed, parameter name, shape) alone: two arms of a comparison that share a parameter start
    it from the same values, whatever else differs between them, and on every device.
    """

    def apply(self, model: nn.Module, *, seed: int) -> None:
        """Set every weight of `model` in place; gains and biases keep what their module set."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if is_weight(name, parameter) and not parameter.is_meta:
                    values = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                    self.draw(values, name=name, generator=generator_of(seed, name))
                    parameter.copy_(values)

    @abstractmethod
    def draw(self, values: Tensor, *, name: str, generator: torch.Generator) -> None:
        """Fill one weight in place, `[..., out, in]`, on the CPU in fp32, from `generator`."""


def is_weight(name: str, parameter: Tensor) -> bool:
    """Whether a parameter multiplies: gains have one dimension, and the biases of stacked experts have two."""
    return parameter.ndim >= 2 and not name.endswith("bias")


def generator_of(seed: int, name: str) -> torch.Generator:
    """The generator of one parameter, a pure function of (seed, name)."""
    digest = hashlib.sha256(f"init:{seed}:{name}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
