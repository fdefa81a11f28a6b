"""Multi-token prediction by a chain of small modules (DeepSeek-V3, 2412.19437, section 2.2, eqs. 21-25).

Module k sees what module k-1 made of position i (the main model's stream for k = 1) beside the embedding of token
i+k, and predicts token i+k+1 through the model's own embedding and head. The chain keeps causality at each depth.
It is dropped after training: what a run leaves behind and is scored by is the main model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nanochat.core.errors import spec_error
from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.core.spec import Count
from nanochat.ffn.base import Aux
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import Transformer, combine
from nanochat.objective.base import Extra, Loss
from nanochat.objective.next_token import NextTokenSpec

IGNORED = -100
"""The target that cross-entropy leaves out."""


class MTPSpec(NextTokenSpec):
    """ahead: further tokens to predict, each by a module of its own · weight: λ, of their mean loss."""

    ahead: Count
    weight: Annotated[float, Field(gt=0)]

    def check(self, *, context: int) -> None:
        if self.ahead >= context:
            raise spec_error("ahead", self.ahead, f"must be less than context={context}", f"try {context - 1} at most")

    def assemble(self, architecture: Architecture, *, vocab: int, context: int) -> MTP:
        geometry = architecture.geometry(vocab=vocab, context=context)
        last = replace(geometry, layer=geometry.depth - 1)
        return MTP([Further(architecture, dim=geometry.dim, block_geometry=last) for _ in range(self.ahead)])

    def cost(self, architecture: Architecture, *, vocab: int, context: int) -> Cost:
        """Per module: a block (as the model's last), a 2·dim → dim projection, three norms, and the head again."""
        geometry = architecture.geometry(vocab=vocab, context=context)
        one = architecture.block_cost(replace(geometry, layer=geometry.depth - 1))
        one += dense_cost(2 * geometry.dim**2)
        for _ in range(3):
            one += architecture.norm.cost(geometry.dim)
        head = 6.0 * vocab * geometry.dim
        one += Cost(flops=head, flops_mfu=head)
        total = Cost()
        for _ in range(self.ahead):
            total += one
        return replace(total, state_bytes=0.0)

    def measure(
        self,
        model: Transformer,
        extra: Extra | None,
        tokens: Int[Tensor, "batch time_and_one"],
        *,
        docs: Int[Tensor, "batch time"] | None,
    ) -> Loss:
        """Main nats + weight·(mean over the modules of their nats), each summed over the tokens that it predicts.

        With `docs`, module k predicts for the positions whose token k further on is of their own document.
        """
        assert isinstance(extra, MTP)
        output = model(tokens[:, :-1], docs=docs)
        main = self.nats(output.logits, self.targets(tokens))
        stream, auxes, further = output.stream, [output.aux], []
        for k, module in enumerate(extra.chain, start=1):
            assert isinstance(module, Further)
            left = tokens.shape[1] - 1 - k  # positions that have a token k+1 ahead
            seen = None if docs is None else docs[:, :left]
            stream, aux = module(stream[:, :left], model.embedding(tokens[:, k : k + left]), docs=seen)
            logits = model.logits(stream, norm=module.norm)
            wanted = tokens[:, k + 1 :]
            if docs is not None:  # a position that was shown a token of the next document has nothing to predict
                wanted = wanted.masked_fill(docs[:, :left] != docs[:, k : k + left], IGNORED)
            further.append(self.nats(logits, wanted))
            auxes.append(aux)
        mean = torch.stack(further).mean()
        aux = combine(auxes)
        metrics = {**output.aux.metrics, "further_loss": mean.detach() / tokens[:, 1:].numel()}
        return Loss(main + self.weight * mean, main.detach(), Aux(aux.loss, metrics))


class MTP(Extra):
    """The chain."""

    def __init__(self, chain: list[Further]) -> None:
        super().__init__()
        self.chain = nn.ModuleList(chain)

    def after_step(self) -> None:
        for module in self.chain:
            assert isinstance(module, Further)
            module.block.ffn.after_step()


class Further(nn.Module):
    """One module of the chain: block(projection([norm(stream); norm(embedding)])), and the norm before the head."""

    def __init__(self, architecture: Architecture, *, dim: int, block_geometry: Geometry) -> None:
        super().__init__()
        self.stream_norm = architecture.norm.build(dim)
        self.token_norm = architecture.norm.build(dim)
        self.projection = nn.Linear(2 * dim, dim, bias=False)
        self.block = architecture.block(block_geometry)
        self.norm = architecture.norm.build(dim)

    def forward(
        self,
        stream: Float[Tensor, "batch time dim"],
        embedded: Float[Tensor, "batch time dim"],
        *,
        docs: Int[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time dim"], Aux]:
        """What it makes of the stream before it and of the tokens one further ahead."""
        both = torch.cat([self.stream_norm(stream), self.token_norm(embedded)], dim=-1)
        x, _, aux = self.block(self.projection(both), docs=docs)
        return x, aux
