"""A decoder-only transformer: embedding, blocks, a final norm and a head over the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import State
from nanochat.attention.masked import document_positions
from nanochat.core.geometry import Cost, dense_cost
from nanochat.core.spec import Count, Spec
from nanochat.ffn.base import Aux
from nanochat.model.block import Block
from nanochat.position.base import Position


class TransformerSpec(Spec):
    """dim: width of the residual stream · depth: blocks · tied: whether the head is the embedding's own weight."""

    dim: Count
    depth: Count
    tied: bool

    def cost(self, *, vocab: int) -> Cost:
        """Embedding and head alone: looking up is free, the head multiplies even where it is tied."""
        table = vocab * self.dim
        return dense_cost(table) if self.tied else dense_cost(table, lookups=table) + dense_cost(table)


class Output(NamedTuple):
    """logits in fp32 · state of every block, for decoding · aux: losses summed, metrics averaged over blocks."""

    logits: Float[Tensor, "batch time vocab"]
    state: list[State]
    aux: Aux


class Transformer(nn.Module):
    """The model that an `Architecture` builds. `context` is the longest sequence that it is meant for, in tokens."""

    def __init__(
        self,
        spec: TransformerSpec,
        *,
        vocab: int,
        context: int,
        position: Position,
        blocks: Sequence[Block],
        norm: nn.Module,
    ) -> None:
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocab, spec.dim)
        self.position = position
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = None if spec.tied else nn.Linear(spec.dim, vocab, bias=False)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        state: Sequence[State] | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
    ) -> Output:
        """Predict the token after each of `tokens`.

        state: `Output.state` of an earlier call, where `tokens` continue its sequence. docs: the document of each
        token, where several are packed into a sequence; none sees another's tokens. Not both.
        """
        x, states, auxes = self.hidden(tokens, state=state, docs=docs)
        logits = F.linear(x, self.embedding.weight) if self.head is None else self.head(x)
        return Output(logits.float(), states, combine(auxes))

    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        state: Sequence[State] | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], list[State], list[Aux]]:
        """The residual stream as the head reads it, and what every block returned beside it."""
        offset = state[0].length if state else 0
        assert offset + tokens.shape[1] <= self.context, "longer than the model's context"
        if docs is None:
            positions = torch.arange(offset, offset + tokens.shape[1], device=tokens.device)[None]
        else:
            positions = document_positions(docs)
        x = self.position.embed(self.embedding(tokens), positions=positions)
        states, auxes = [], []
        for block, past in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            x, past, aux = block(x, state=past, docs=docs)
            states.append(past)
            auxes.append(aux)
        return self.norm(x), states, auxes


def combine(auxes: Sequence[Aux]) -> Aux:
    """One `Aux` for the model: losses summed over blocks, each metric averaged over the blocks that report it."""
    losses = [aux.loss for aux in auxes if aux.loss is not None]
    names = dict.fromkeys(name for aux in auxes for name in aux.metrics)
    metrics = {name: torch.stack([aux.metrics[name] for aux in auxes if name in aux.metrics]).mean() for name in names}
    return Aux(torch.stack(losses).sum(dim=0) if losses else None, metrics)
