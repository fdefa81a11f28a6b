"""All that makes a model: the components, how they fit together, what they cost, and the building of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from nanochat.attention.base import AttentionSpec
from nanochat.core.errors import Problem, SpecError
from nanochat.core.geometry import Cost, Geometry
from nanochat.core.spec import Spec, option_of
from nanochat.ffn.base import FFNSpec
from nanochat.init.base import InitSpec
from nanochat.model.block import Block, norms_per_block
from nanochat.model.transformer import Transformer, TransformerSpec
from nanochat.norm.base import NormSpec
from nanochat.position.base import Position, PositionSpec
from nanochat.position.none import NoneSpec

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
        """The same with every null filled, and no position scheme where no layer has a use for it.

        Raises one `SpecError` with all that does not fit, under full keys.
        """
        problems: list[Problem] = []
        model = _collect(problems, "model", self.model.resolve)
        if model is None:
            raise SpecError(problems)
        geometry = self.replace(model=model).geometry(vocab=vocab, context=context)
        attention = _collect(problems, "attention", lambda: self.attention.resolve(geometry))
        ffn = _collect(problems, "ffn", lambda: self.ffn.resolve(geometry))
        resolved = attention or self.attention
        scheme = position = self.position if resolved.uses(self.position) else NoneSpec()
        if model.tied and self.init.untied:
            rule = f"init={option_of(self.init)} needs a head of its own"
            problems.append(Problem(key="model.tied", value=True, rule=rule, remedy="use model.tied=false"))
        problems += SpecError(resolved.misfits(scheme)).under("attention").problems
        if attention is not None:
            problems += self._without_values(model, attention, geometry)
            layers = tuple(n for n in range(geometry.depth) if attention.in_block(n).uses(scheme))
            position = _collect(problems, "position", lambda: scheme.resolve(geometry, layers=layers))
        if problems:
            raise SpecError(problems)
        return self.replace(model=model, attention=attention, ffn=ffn, position=position)

    def cost(self, *, vocab: int, context: int) -> Cost:
        """What the whole resolved model costs, embedding and head included."""
        widths = self.value_widths(self.geometry(vocab=vocab, context=context))
        embedding = self.model.embedding_cost(vocab=vocab, value_widths=widths)
        return embedding + self.body_cost(vocab=vocab, context=context)

    def non_embedding_params(self, *, vocab: int, context: int) -> int:
        """Parameters without embeddings and head: the size that scaling laws speak of."""
        return self.body_cost(vocab=vocab, context=context).params

    def body_cost(self, *, vocab: int, context: int) -> Cost:
        """What lies between embedding and head: every block, its positions, and the final norm."""
        geometry = self.geometry(vocab=vocab, context=context)
        total = self.model.scalars_cost(value_widths=self.value_widths(geometry))
        if self.norm.final:
            total += self.norm.cost(geometry.dim)
        if self.position.hook == "embed":
            total += self.position.cost(geometry)
        for layer in range(geometry.depth):
            total += self.block_cost(replace(geometry, layer=layer))
        return total

    def block_cost(self, geometry: Geometry) -> Cost:
        """What block `geometry.layer` costs."""
        total = self.attention.cost(geometry) + self.ffn.cost(geometry)
        for _ in range(norms_per_block(self.norm)):
            total += self.norm.cost(geometry.dim)
        attends = self.attention.in_block(geometry.layer)
        if self.position.hook in ("rotate", "bias") and attends.uses(self.position):
            total += self.position.cost(geometry)
        return total

    def build(self, *, vocab: int, context: int, seed: int) -> Transformer:
        """The resolved model with its initial weights, a pure function of the Spec and `seed`."""
        # Modules of torch draw their first weights from the global generator: keep the caller's out of it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.assemble(vocab=vocab, context=context)
        self.init.apply(model, seed=seed, depth=self.model.depth)
        return model

    def assemble(self, *, vocab: int, context: int) -> Transformer:
        """The resolved model before `init`: its weights are whatever its modules drew."""
        geometry = self.geometry(vocab=vocab, context=context)
        return Transformer(
            self.model,
            vocab=vocab,
            context=context,
            position=self._position(geometry, {"embed"}),
            blocks=[self.block(replace(geometry, layer=layer)) for layer in range(geometry.depth)],
            norm=self.norm.build(geometry.dim) if self.norm.final else nn.Identity(),
            value_widths=self.value_widths(geometry),
            logit_scale=1 / self.init.parametrization(geometry.dim).width,
        )

    def block(self, geometry: Geometry) -> Block:
        """Block `geometry.layer`, its weights as torch draws them."""
        position = self._position(geometry, {"rotate", "bias"})
        return Block(
            attention=self.attention.build(geometry, position=position),
            ffn=self.ffn.build(geometry),
            norm=self.norm,
            dim=geometry.dim,
            dropout=self.model.dropout,
        )

    def geometry(self, *, vocab: int, context: int) -> Geometry:
        """What every component is told, as seen by the first block."""
        dim = self.model.width
        power = self.init.parametrization(dim).head_power
        return Geometry(dim=dim, depth=self.model.depth, layer=0, vocab=vocab, context=context, head_power=power)

    def value_widths(self, geometry: Geometry) -> dict[int, int]:
        """The width of each value embedding, by block."""
        layers = [layer for layer in range(geometry.depth) if self.model.has_value_embedding(layer)]
        widths = {layer: self.attention.value_width(replace(geometry, layer=layer)) for layer in layers}
        return {layer: width for layer, width in widths.items() if width is not None}

    def _without_values(self, model: TransformerSpec, attention: AttentionSpec, geometry: Geometry) -> list[Problem]:
        """Why a block that is to have a value embedding can have none."""
        for layer in range(geometry.depth):
            here = replace(geometry, layer=layer)
            if model.has_value_embedding(layer) and attention.value_width(here) is None:
                rule = f"block {layer} has attention={option_of(attention)}, which takes no value embedding"
                return [
                    Problem(key="model.value_embeddings", value=model.value_embeddings, rule=rule, remedy="use none")
                ]
        return []

    def _position(self, geometry: Geometry, hooks: set[str]) -> Position:
        """The scheme in the place where its hook acts, the identity everywhere else: no parameter is there twice."""
        return self.position.build(geometry) if self.position.hook in hooks else Position()


def _collect(problems: list[Problem], part: str, resolve: Callable[[], T]) -> T | None:
    """What `resolve` returns, or None with its problems noted under the part's key."""
    try:
        return resolve()
    except SpecError as error:
        problems.extend(error.under(part).problems)
        return None
