"""The contract of an initialisation: every parameter draws from a generator of its own."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nanochat.core.roles import Role, roles
from nanochat.core.spec import Spec


class Parametrization(NamedTuple):
    """What else must follow a model's width for its optimal learning rate not to (µP, Yang et al., 2203.03466).

    width: dim over the width at which the rate was tuned: logits are divided by it and optimizers scale the rates
    of their groups by it · head_power: scores are divided by the width of a key to this power. The standard
    parametrisation is the one below.
    """

    width: float = 1.0
    head_power: float = 0.5


class InitSpec(Spec):
    """Describes what a model's weights start from.

    A weight depends on (seed, parameter name, shape) alone: two arms of a comparison that share a parameter start
    it from the same values, whatever else differs between them, and on every device.
    """

    @property
    def untied(self) -> bool:
        """Whether the head must be a matrix of its own."""
        return False

    def parametrization(self, dim: int) -> Parametrization:
        """The multipliers that belong to these weights in a model of width `dim`."""
        return Parametrization()

    def apply(self, model: nn.Module, *, seed: int, depth: int) -> None:
        """Set every weight of `model` in place; vectors (gains, biases) keep what their module set.

        depth: blocks of the whole model.
        """
        role_of = roles(model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if role_of[name] != "vector" and not parameter.is_meta:
                    values = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                    if role_of[name] == "filter":
                        draw_filter(values, generator=generator_of(seed, name))
                    else:
                        self.draw(values, role=role_of[name], depth=depth, generator=generator_of(seed, name))
                    parameter.copy_(values)

    @abstractmethod
    def draw(self, values: Tensor, *, role: Role, depth: int, generator: torch.Generator) -> None:
        """Fill one weight in place, `[..., out, in]`, on the CPU in fp32, from `generator`."""


def draw_filter(values: Tensor, *, generator: torch.Generator) -> None:
    """The taps of a depthwise convolution, `[channels, taps]`: uniform within ±1/√taps, as torch begins convolutions,
    whatever the option for matrices."""
    bound = values.shape[-1] ** -0.5
    torch.nn.init.uniform_(values, -bound, bound, generator=generator)


def generator_of(seed: int, name: str) -> torch.Generator:
    """The generator of one parameter, a pure function of (seed, name)."""
    digest = hashlib.sha256(f"init:{seed}:{name}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
