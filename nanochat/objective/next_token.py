"""Next-token prediction: cross-entropy of each token given all before it (Shannon, 1948)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from nanochat.objective.base import ObjectiveSpec


class NextTokenSpec(ObjectiveSpec):
    """The target of position t is token t+1; every target counts the same, beginnings of text included."""

    def targets(self, tokens: Int[Tensor, "batch time_and_one"]) -> Int[Tensor, "batch time"]:
        return tokens[:, 1:]

    def nats(self, logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
