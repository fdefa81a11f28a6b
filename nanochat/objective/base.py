"""The contract of an objective."""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from nanochat.core.spec import Spec


class ObjectiveSpec(Spec):
    """Turns logits and a stretch of tokens into nats to be minimised."""

    @abstractmethod
    def targets(self, tokens: Int[Tensor, "batch time_and_one"]) -> Int[Tensor, "batch time"]:
        """What the logits of the inputs `tokens[:, :-1]` are to predict."""

    @abstractmethod
    def nats(self, logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """The summed loss in nats. A sum, not a mean: the trainer divides by the tokens of the whole batch."""
