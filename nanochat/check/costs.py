"""What the Specs say that the model costs is what it costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nanochat.check.base import Result, failed, not_applicable, passed
from nanochat.check.subject import Subject

MOST = 2e12
"""FLOPs of one sequence of the full context beyond which counting them would take too long."""

UNCOUNTED = ("grouped_mm", "flex_attention", "flash_attention", "efficient_attention")
"""Kernels that torch's counter sees as nothing, or not in full."""


def parameters(subject: Subject) -> Result:
    """`cost.params` is the number of parameters built."""
    said, built = subject.spec.cost.params, sum(p.numel() for p in subject.shared.parameters())
    if said == built:
        return passed(f"{built:,}, as the Specs say")
    return failed(
        f"the Specs say {said:,} parameters, the model has {built:,}",
        "Correct `params` in the cost() of your component.",
    )


def state_bytes(subject: Subject) -> Result:
    """`cost.state_bytes` is what decoding keeps for a token of a full context, at two bytes an element."""
    if too_long(subject):
        return not_applicable(f"a full context of {subject.spec.context:,} tokens takes too long here")
    tokens = full_sequence(subject)
    states = subject.forward(subject.shared, tokens).state
    try:
        elements = sum(tensor.numel() for state in states for tensor in tensors(state))
    except TypeError:
        return not_applicable("the state is no tuple of tensors")
    kept, said = 2 * elements / tokens.numel(), subject.spec.cost.state_bytes
    if abs(kept - said) <= 0.01 * max(kept, said):
        return passed(f"{kept:,.0f} a token, as the Specs say")
    return failed(
        f"the Specs say {said:,.0f} bytes of state a token, decoding keeps {kept:,.0f}",
        "Correct `state_bytes` in the cost() of your attention: two bytes for every element of its state.",
    )


def flops(subject: Subject) -> Result:
    """Torch's count of a step's FLOPs lies between `cost.flops` and `cost.flops_mfu`."""
    if too_long(subject):
        return not_applicable(f"a full context of {subject.spec.context:,} tokens takes too long here")
    model, tokens = subject.model(), full_sequence(subject)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, Kernels() as kernels:
        output = model(tokens)
        (output.logits.sum() + (0 if output.aux.loss is None else output.aux.loss.sum())).backward()
    unseen = sorted({name for name in kernels.names for word in UNCOUNTED if word in name})
    if unseen:
        return not_applicable(f"torch's counter does not see {unseen[0]}")
    cost, counted = subject.spec.cost, counter.get_total_flops() / tokens.numel()
    said = f"counted {counted:.3g} a token, the Specs say {cost.flops:.3g} to {cost.flops_mfu:.3g}"
    if 0.99 * cost.flops <= counted <= 1.01 * cost.flops_mfu:
        return passed(said)
    if cost.flops / 2 <= counted <= 2 * cost.flops_mfu:
        return not_applicable(f"{said}: padding and recomputation are no part of the model")
    return failed(
        said, "Correct `flops` and `flops_mfu` in the cost() of your component: 6 for each weight that multiplies."
    )


class Kernels(TorchDispatchMode):
    """Notes the name of every operation that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, of parts within it too; TypeError for anything else."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in tensors(part)]
    if state is None or isinstance(state, int):
        return []
    raise TypeError(type(state).__name__)


def full_sequence(subject: Subject) -> Tensor:
    """One sequence of the run's whole context."""
    tokens = torch.from_numpy(subject.sequences[0].tokens[None, :-1])
    return tokens.to(subject.inputs)


def too_long(subject: Subject) -> bool:
    return subject.spec.cost.flops_mfu * subject.spec.context > MOST
