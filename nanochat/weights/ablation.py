"""What of a model can be taken out by itself, and how: heads, experts, whole branches.

Nothing is moved or rewritten: hooks put zero in place of what a part adds, for as long as it is out. The rest is left
as it was trained, so that what is measured is what the trained model owes to the part, not what a model that was
trained without it would lack.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from nanochat.attention.base import AttentionSpec
from nanochat.attention.bottleneck import Bottleneck, BottleneckSpec
from nanochat.core.spec import option_of
from nanochat.ffn.moe import MoE
from nanochat.ffn.router import Routing
from nanochat.model.block import Block
from nanochat.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that can be out. index: which of its kind in the block · hook: puts zero in its place."""

    kind: str
    layer: int
    index: int | None
    hook: Callable[[], RemovableHandle]

    @property
    def name(self) -> str:
        number = "" if self.index is None else f" {self.index}"
        return f"block {self.layer} {self.kind.removesuffix(' branch')}{number}"

    @contextlib.contextmanager
    def out(self) -> Iterator[None]:
        """Within this the model computes without it."""
        handle = self.hook()
        try:
            yield
        finally:
            handle.remove()


class Heads(NamedTuple):
    """Where the heads of an attention meet: head h is the inputs h·width … (h+1)·width - 1 of `projection`."""

    projection: nn.Linear
    number: int
    width: int


def parts(model: Transformer, attention: AttentionSpec) -> list[Part]:
    """All that can be out, branches first, then heads, then experts; block after block."""
    blocks = list(enumerated(model))
    found = [part for layer, block in blocks for part in _branches(block, layer=layer)]
    found += [part for layer, block in blocks for part in _heads(heads_of(attention, block, layer=layer), layer=layer)]
    return found + [part for layer, block in blocks for part in _experts(block.ffn, layer=layer)]


def not_measured(model: Transformer, attention: AttentionSpec) -> list[str]:
    """The blocks whose heads cannot be told apart, in words."""
    return [
        f"heads of block {layer}: attention={option_of(attention.in_block(layer))} has no output projection that "
        "reads its heads side by side"
        for layer, block in enumerated(model)
        if heads_of(attention, block, layer=layer) is None
    ]


def enumerated(model: Transformer) -> Iterator[tuple[int, Block]]:
    """The blocks with their numbers."""
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        yield layer, block


def heads_of(spec: AttentionSpec, block: Block, *, layer: int) -> Heads | None:
    """Where the heads of a block's attention meet; None where it has no such place.

    All attentions merge heads side by side, [head 0 | head 1 | …] (`merge_heads`), before one projection `o_proj`.
    """
    spec, module = spec.in_block(layer), block.attention
    if isinstance(spec, BottleneckSpec) and isinstance(module, Bottleneck):
        spec, module = spec.inner, module.inner
    count, projection = getattr(spec, "heads", None), getattr(module, "o_proj", None)
    if not isinstance(count, int) or not isinstance(projection, nn.Linear) or projection.in_features % count:
        return None
    return Heads(projection, count, projection.in_features // count)


def _branches(block: Block, *, layer: int) -> Iterator[Part]:
    """The block's two branches."""
    for kind, module in (("attention branch", block.attention), ("ffn branch", block.ffn)):
        yield Part(kind=kind, layer=layer, index=None, hook=_after(module, _silence))


def _heads(heads: Heads | None, *, layer: int) -> Iterator[Part]:
    if heads is None:
        return
    for index in range(heads.number):
        channels = slice(index * heads.width, (index + 1) * heads.width)
        yield Part(kind="head", layer=layer, index=index, hook=_before(heads.projection, channels))


def _before(projection: nn.Linear, channels: slice) -> Callable[[], RemovableHandle]:
    def silence(module: nn.Module, given: Sequence[Any]) -> Any:
        x = given[0].clone()
        x[..., channels] = 0
        return (x, *given[1:])

    return lambda: projection.register_forward_pre_hook(silence)


def _after(module: nn.Module, change: Callable[..., Any]) -> Callable[[], RemovableHandle]:
    return lambda: module.register_forward_hook(change)


def _silence(module: nn.Module, given: Any, returned: Any) -> Any:
    """Attentions and FFNs return their output first, and more beside it, which stays."""
    return (torch.zeros_like(returned[0]), *returned[1:])


def _experts(ffn: nn.Module, *, layer: int) -> Iterator[Part]:
    """An expert is out where its weights are zero: tokens stay routed as they were, the other weights too."""
    if not isinstance(ffn, MoE):
        return
    for index in range(ffn.experts.count):
        yield Part(kind="expert", layer=layer, index=index, hook=_after(ffn.router, _unweighed(index)))
    if ffn.shared is not None:
        yield Part(kind="shared expert", layer=layer, index=None, hook=_after(ffn.shared, _silence))


def _unweighed(expert: int) -> Callable[..., Routing]:
    def silence(module: nn.Module, given: Any, routing: Routing) -> Routing:
        return routing._replace(weights=routing.weights.masked_fill(routing.chosen == expert, 0))

    return silence
