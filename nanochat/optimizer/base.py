"""The contract of an optimizer, and the parameter groups that all of them share."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn
from torch.optim import Optimizer

from nanochat.core.spec import Spec
from nanochat.init.base import is_weight


class OptimizerSpec(Spec):
    """Describes an optimizer. The rate is not its business: the trainer sets `lr` of every group before each step."""

    @abstractmethod
    def build(self, model: nn.Module) -> Optimizer:
        """The optimizer over all trainable parameters of `model`, in groups; `lr` is 0 until it is set."""


def decay_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split parameters into those that decay and those that do not: norms' gains, biases and embeddings.

    Parameters shared by two modules (a tied head) count once, as what they are first.
    """
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            weight = is_weight(name, parameter) and id(parameter) not in embeddings
            (decayed if weight else kept).append(parameter)
    return decayed, kept
