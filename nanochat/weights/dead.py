"""Hidden units of the FFNs that do nothing, and experts that nothing is sent to."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from nanochat.core.spec import option_of
from nanochat.ffn.base import FFNSpec
from nanochat.ffn.dense import Dense
from nanochat.ffn.experts import Experts, StackedLinear
from nanochat.ffn.moe import MoE
from nanochat.model.transformer import Transformer
from nanochat.weights.ablation import enumerated
from nanochat.weights.sample import Sample

FAINT = 1e-3
"""Share of the median contribution below which a unit counts as doing nothing."""


@dataclass
class Units:
    """The hidden units of one FFN, or of one expert, over the tokens that reached it.

    A unit's activation is what the last projection reads of it: of a gated FFN the product. squares: its squares,
    summed over tokens · active: whether it was ever other than zero · norms: of the columns that the last projection
    multiplies them by · expert: its number, None where every token comes here.
    """

    name: str
    layer: int
    norms: NDArray[np.float64]
    expert: int | None = None
    squares: NDArray[np.float64] = field(init=False)
    active: NDArray[np.bool_] = field(init=False)
    tokens: int = 0

    def __post_init__(self) -> None:
        self.squares = np.zeros(len(self.norms))
        self.active = np.zeros(len(self.norms), dtype=bool)

    def add(self, activations: Float[Tensor, "tokens hidden"]) -> None:
        """Count some tokens' activations in."""
        self.tokens += len(activations)
        self.squares += activations.double().square().sum(dim=0).cpu().numpy()
        self.active |= (activations != 0).any(dim=0).cpu().numpy()

    @property
    def contributions(self) -> NDArray[np.float64]:
        """What each unit adds to the FFN's output: root mean square over tokens of its activation × its column."""
        return np.sqrt(self.squares / max(1, self.tokens)) * self.norms

    @property
    def zero(self) -> int:
        """Units that were zero at every token; all of them where no token came."""
        return int((~self.active).sum())

    @property
    def faint(self) -> int:
        """Units that were not zero, but add less than `FAINT` of the median unit."""
        contributions = self.contributions
        return int((self.active & (contributions < FAINT * np.median(contributions))).sum())

    @property
    def dead(self) -> int:
        return self.zero + self.faint


@contextlib.contextmanager
def watched(model: Transformer, sample: Sample) -> Iterator[list[Units]]:
    """Within this, forward passes that `sample` makes are counted in: FFN by FFN, in mixtures expert by expert."""
    found: list[Units] = []
    handles = []
    try:
        for layer, block in enumerated(model):
            for name, dense in _dense(block.ffn):
                down = dense.get_submodule(dense.output)
                assert isinstance(down, nn.Linear)
                units = Units(f"block {layer} {name}", layer, _norms(down.weight))
                found.append(units)
                handles.append(down.register_forward_pre_hook(_counter(units, sample)))
            if isinstance(block.ffn, MoE):
                stacked = _last(block.ffn.experts).weight
                experts = [
                    Units(f"block {layer} expert {i}", layer, _norms(w), expert=i) for i, w in enumerate(stacked)
                ]
                found += experts
                handles.append(block.ffn.register_forward_hook(_expert_counter(experts, sample)))
        yield found
    finally:
        for handle in handles:
            handle.remove()


def not_measured(model: Transformer, spec: FFNSpec) -> list[str]:
    """The blocks whose hidden units are out of reach, in words."""
    return [
        f"hidden units of block {layer}: ffn={option_of(spec)} is neither a dense FFN nor a mixture of them here"
        for layer, block in enumerated(model)
        if not isinstance(block.ffn, Dense | MoE)
    ]


def activations(experts: Experts, x: Float[Tensor, "tokens dim"], *, expert: int) -> Float[Tensor, "tokens hidden"]:
    """What the last projection of one expert reads of some tokens."""
    inputs = [_stacked(experts, name).single(x, expert=expert) for name in experts.inputs]
    return experts.combine(*inputs, *(experts.get_parameter(name)[expert] for name in experts.channels))


def _dense(ffn: nn.Module) -> Iterator[tuple[str, Dense]]:
    if isinstance(ffn, Dense):
        yield "ffn", ffn
    if isinstance(ffn, MoE) and isinstance(ffn.shared, Dense):
        yield "shared expert", ffn.shared


def _counter(units: Units, sample: Sample) -> Any:
    def count(module: nn.Module, given: Any) -> None:
        units.add(given[0][sample.real])

    return count


def _expert_counter(experts: list[Units], sample: Sample) -> Any:
    """Counts every token at each expert that it is sent to, however small its weight there."""

    def count(module: nn.Module, given: Any, returned: Any) -> None:
        assert isinstance(module, MoE)
        chosen = module.router(given[0]).chosen[sample.real]
        x = given[0][sample.real]
        for index, units in enumerate(experts):
            sent: Bool[Tensor, " tokens"] = (chosen == index).any(dim=-1)
            if sent.any():
                units.add(activations(module.experts, x[sent], expert=index))

    return count


def _last(experts: Experts) -> StackedLinear:
    return _stacked(experts, experts.output)


def _stacked(experts: Experts, name: str) -> StackedLinear:
    module = experts.get_submodule(name)
    assert isinstance(module, StackedLinear)
    return module


def _norms(weight: Float[Tensor, "out hidden"]) -> NDArray[np.float64]:
    return torch.linalg.vector_norm(weight.detach().double(), dim=0).cpu().numpy()


def shares(experts: Sequence[Units]) -> list[float]:
    """The share of the (token, choice) pairs that each expert of one block had."""
    total = sum(units.tokens for units in experts)
    return [units.tokens / total if total else math.nan for units in experts]
