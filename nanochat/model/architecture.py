"""All that makes a model: the components, how they fit together, what they cost, and the building of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from nanochat.attention.base import AttentionSpec
from nanochat.core.errors import Problem, SpecError
from nanochat.core.geometry import Cost, Geometry
from nanochat.core.spec import Spec, target_of
from nanochat.ffn.base import FFNSpec
from nanochat.init.base import InitSpec
from nanochat.model.block import Block
from nanochat.model.transformer import Transformer, TransformerSpec
from nanochat.norm.base import NormSpec
from nanochat.position.base import Position, PositionSpec

T = TypeVar("T")


class Architecture(Spec):
    """The components of a model, siblings at the top level of the config."""

    model: TransformerSpec
    attention: AttentionSpec
    ffn: FFNSpec
    norm: NormSpec
    position: PositionSpec
    init: InitSpec

    def resolve(self, *, vocab: int, context: int) -> Architecture:
        """The same with every null filled. Raises one `SpecError` with all that does not fit, under full keys."""
        geometry = self.geometry(vocab=vocab, context=context)
        problems: list[Problem] = []
        attention = _collect(problems, "attention", lambda: self.attention.resolve(geometry))
        ffn = _collect(problems, "ffn", lambda: self.ffn.resolve(geometry))
        problems += misfits(self.position, attention or self.attention)
        if problems:
            raise SpecError(problems)
        return self.replace(attention=attention, ffn=ffn)

    def cost(self, *, vocab: int, context: int) -> Cost:
        """What the whole resolved model costs, embedding and head included."""
        return self.model.cost(vocab=vocab) + self.body_cost(vocab=vocab, context=context)

    def non_embedding_params(self, *, vocab: int, context: int) -> int:
        """Parameters without the embedding and the head: the size that scaling laws speak of."""
        return self.body_cost(vocab=vocab, context=context).params

    def body_cost(self, *, vocab: int, context: int) -> Cost:
        """What lies between embedding and head: every block, its positions, and the final norm."""
        geometry = self.geometry(vocab=vocab, context=context)
        total = self.norm.cost(geometry.dim)
        if self.position.hook == "embed":
            total += self.position.cost(geometry)
        for layer in range(geometry.depth):
            here = replace(geometry, layer=layer)
            total += self.attention.cost(here) + self.ffn.cost(here)
            total += self.norm.cost(here.dim) + self.norm.cost(here.dim)
            if self.position.hook in ("rotate", "bias"):
                total += self.position.cost(here)
        return total

    def build(self, *, vocab: int, context: int, seed: int) -> Transformer:
        """The resolved model with its initial weights, a pure function of the Spec and `seed`."""
        geometry = self.geometry(vocab=vocab, context=context)
        # Modules of torch draw their first weights from the global generator: keep the caller's out of it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Transformer(
                self.model,
                vocab=vocab,
                context=context,
                position=self._position(geometry, {"embed"}),
                blocks=[self._block(replace(geometry, layer=layer)) for layer in range(geometry.depth)],
                norm=self.norm.build(geometry.dim),
            )
        self.init.apply(model, seed=seed)
        return model

    def geometry(self, *, vocab: int, context: int) -> Geometry:
        """What every component is told, as seen by the first block."""
        return Geometry(dim=self.model.dim, depth=self.model.depth, layer=0, vocab=vocab, context=context)

    def _block(self, geometry: Geometry) -> Block:
        position = self._position(geometry, {"rotate", "bias"})
        return Block(
            attention_norm=self.norm.build(geometry.dim),
            attention=self.attention.build(geometry, position=position),
            ffn_norm=self.norm.build(geometry.dim),
            ffn=self.ffn.build(geometry),
        )

    def _position(self, geometry: Geometry, hooks: set[str]) -> Position:
        """The scheme in the place where its hook acts, the identity everywhere else: no parameter is there twice."""
        return self.position.build(geometry) if self.position.hook in hooks else Position()


def misfits(position: PositionSpec, attention: AttentionSpec) -> list[Problem]:
    """Why this position scheme cannot serve this (resolved) attention; empty where it can."""
    if position.hook is None:
        return []
    if position.hook not in attention.hooks:
        rule = f"works through the hook '{position.hook}', which {type(attention).__name__} does not support"
        have = ", ".join(sorted(attention.hooks)) or "no hook"
        return [Problem(key="position", value=target_of(type(position)), rule=rule, remedy=f"it supports {have}")]
    width = getattr(attention, attention.rotated) if position.hook == "rotate" and attention.rotated else None
    multiple = position.width_multiple
    if width is None or width % multiple == 0:
        return []
    below = width - width % multiple
    remedy = f"try {below} or {below + multiple}" if below else f"try {multiple}"
    rule = f"must be a multiple of {multiple}, which {type(position).__name__} rotates"
    return [Problem(key=f"attention.{attention.rotated}", value=width, rule=rule, remedy=remedy)]


def _collect(problems: list[Problem], part: str, resolve: Callable[[], T]) -> T | None:
    """What `resolve` returns, or None with its problems noted under the part's key."""
    try:
        return resolve()
    except SpecError as error:
        problems.extend(error.under(part).problems)
        return None
