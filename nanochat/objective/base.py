"""The contract of an objective: what training minimises, and what it adds to the model for that."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.core.geometry import Cost
from nanochat.core.spec import Spec
from nanochat.ffn.base import Aux
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import Transformer


class Loss(NamedTuple):
    """Of the sequences of one forward pass.

    minimised: nats whose gradient is followed, summed over tokens · next_token: nats of the next token alone, summed,
    the same number whatever the objective · aux: what the model's parts report beside them.
    """

    minimised: Float[Tensor, ""]
    next_token: Float[Tensor, ""]
    aux: Aux


class Extra(nn.Module):
    """Modules that training needs beside the model, and that are no part of what it leaves behind."""

    def after_step(self) -> None:
        """To be called once after every optimizer step."""


class ObjectiveSpec(Spec):
    """Turns a model and a stretch of tokens into nats to be minimised."""

    @abstractmethod
    def targets(self, tokens: Int[Tensor, "batch time_and_one"]) -> Int[Tensor, "batch time"]:
        """What the logits of the inputs `tokens[:, :-1]` are to predict."""

    @abstractmethod
    def nats(self, logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """The summed loss in nats. A sum, not a mean: the trainer divides by the tokens of the whole batch."""

    def measure(
        self,
        model: Transformer,
        extra: Extra | None,
        tokens: Int[Tensor, "batch time_and_one"],
        *,
        docs: Int[Tensor, "batch time"] | None,
    ) -> Loss:
        """The loss of `model` on `tokens`; `extra` is what `build` returned, `docs` as in the model's forward."""
        output = model(tokens[:, :-1], docs=docs)
        nats = self.nats(output.logits, self.targets(tokens))
        return Loss(nats, nats.detach(), output.aux)

    def build(self, architecture: Architecture, *, vocab: int, context: int, seed: int) -> Extra | None:
        """What it adds to the resolved model, with its initial weights; None where it adds nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            extra = self.assemble(architecture, vocab=vocab, context=context)
        if extra is not None:
            architecture.init.apply(nn.ModuleDict({"objective": extra}), seed=seed, depth=architecture.model.depth)
        return extra

    def assemble(self, architecture: Architecture, *, vocab: int, context: int) -> Extra | None:
        """The same before `init`: its weights are whatever its modules drew."""
        return None

    def check(self, *, context: int) -> None:
        """Raises `SpecError` where it cannot be had from sequences of `context` tokens."""

    def cost(self, architecture: Architecture, *, vocab: int, context: int) -> Cost:
        """What those modules cost, beside the model."""
        return Cost()
