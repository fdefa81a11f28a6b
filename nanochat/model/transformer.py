"""A decoder-only transformer: embedding, blocks, a final norm and a head over the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nanochat.attention.base import State
from nanochat.attention.masked import document_positions
from nanochat.core.errors import spec_error
from nanochat.core.geometry import Cost, dense_cost
from nanochat.core.noise import Dropout
from nanochat.core.roles import Role
from nanochat.core.spec import Count, Positive, Spec
from nanochat.ffn.base import Aux
from nanochat.model.block import Block
from nanochat.position.base import Position

DIM_MULTIPLE = 16


class TransformerSpec(Spec):
    """depth: blocks · dim: width of the residual stream, null is aspect·depth to the nearest multiple of 16 · aspect:
    that ratio of width to depth, by which `depth` alone sets a model's size · tied: whether the head is the
    embedding's own weight · dropout: share of the embedding's and of each branch's outputs that training sets to
    zero · value_embeddings: blocks whose values get a learned embedding of the token added: none, alternate (every
    second one, the last included) or all (after Zhou et al., 2410.17897; the form is that of the speed-run records
    of modded-nanogpt) · residual_scalars: whether block l reads a_l·x + b_l·x0, x0 being the embedded tokens and a, b
    learned from 1 and 0 on (modded-nanogpt) · soft_cap: bound c of the logits, c·tanh(z/c) (Gemma 2, 2408.00118);
    null is none.
    """

    depth: Count
    dim: Count | None
    aspect: Positive | None
    tied: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    value_embeddings: Literal["none", "alternate", "all"]
    residual_scalars: bool
    soft_cap: Positive | None

    def resolve(self) -> Self:
        """The same with its width; how that came about is no part of the result."""
        if self.dim is not None:
            return self.replace(aspect=None)
        if self.aspect is None:
            raise spec_error("dim", None, "follows from model.aspect, which is null too", "set one of them")
        wanted = self.aspect * self.depth
        return self.replace(dim=max(DIM_MULTIPLE, int(wanted / DIM_MULTIPLE + 0.5) * DIM_MULTIPLE), aspect=None)

    @property
    def width(self) -> int:
        """The width of the resolved Spec."""
        assert self.dim is not None, "unresolved"
        return self.dim

    def has_value_embedding(self, layer: int) -> bool:
        """Whether block `layer` has a value embedding."""
        second = (self.depth - 1 - layer) % 2 == 0
        return self.value_embeddings == "all" or (self.value_embeddings == "alternate" and second)

    def embedding_cost(self, *, vocab: int, value_widths: Mapping[int, int]) -> Cost:
        """Embeddings and head: looking up is free, the head multiplies even where it is tied."""
        table = vocab * self.width
        head = dense_cost(table) if self.tied else dense_cost(table, lookups=table) + dense_cost(table)
        values = vocab * sum(value_widths.values())
        return head + dense_cost(values, lookups=values)

    def scalars_cost(self, *, value_widths: Mapping[int, int]) -> Cost:
        """The learned scalars between the blocks."""
        count = len(value_widths) + (2 * self.depth if self.residual_scalars else 0)
        return dense_cost(count, lookups=count)


class Output(NamedTuple):
    """logits in fp32 · state of every block, for decoding · aux: losses summed, metrics averaged over blocks · stream:
    the residual stream after the last block, of which the logits are made.
    """

    logits: Float[Tensor, "batch time vocab"]
    state: list[State]
    aux: Aux
    stream: Float[Tensor, "batch time dim"]


class Head(nn.Linear):
    """The matrix that makes logits."""

    roles: Mapping[str, Role] = {"weight": "head"}


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
        value_widths: Mapping[int, int],
        logit_scale: float,
    ) -> None:
        """`value_widths`: width of each value embedding by block · `logit_scale`: what logits are multiplied by."""
        super().__init__()
        self.context = context
        self.logit_scale = logit_scale
        self.soft_cap = spec.soft_cap
        self.embedding = nn.Embedding(vocab, spec.width)
        self.dropout = Dropout(spec.dropout)
        self.position = position
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = None if spec.tied else Head(spec.width, vocab, bias=False)
        tables = {str(layer): nn.Embedding(vocab, width) for layer, width in value_widths.items()}
        self.value_embeddings = nn.ModuleDict(tables)
        if tables:
            self.value_scale = nn.Parameter(torch.ones(len(tables)))
        self.residual_scalars = spec.residual_scalars
        if spec.residual_scalars:
            self.residual_scale = nn.Parameter(torch.ones(spec.depth))
            self.embedding_scale = nn.Parameter(torch.zeros(spec.depth))

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
        x, states, auxes = self.stream(tokens, state=state, docs=docs)
        return Output(self.logits(x, norm=self.norm), states, combine(auxes), x)

    def stream(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        state: Sequence[State] | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], list[State], list[Aux]]:
        """The residual stream after the last block, and what every block returned beside it."""
        offset = state[0].length if state else 0
        assert offset + tokens.shape[1] <= self.context, "longer than the model's context"
        if docs is None:
            positions = torch.arange(offset, offset + tokens.shape[1], device=tokens.device)[None]
        else:
            positions = document_positions(docs)
        first = x = self.dropout(self.position.embed(self.embedding(tokens), positions=positions))
        states, auxes = [], []
        values = self.values(tokens)
        for layer, (block, past) in enumerate(zip(self.blocks, state or [None] * len(self.blocks), strict=True)):
            if self.residual_scalars:
                x = self.residual_scale[layer] * x + self.embedding_scale[layer] * first
            x, past, aux = block(x, state=past, docs=docs, values=values.get(layer))
            states.append(past)
            auxes.append(aux)
        return x, states, auxes

    def values(self, tokens: Int[Tensor, "batch time"]) -> dict[int, Tensor]:
        """The scaled value embeddings of `tokens`, by block."""
        tables = self.value_embeddings.items()
        return {int(layer): self.value_scale[i] * table(tokens) for i, (layer, table) in enumerate(tables)}

    def logits(self, x: Float[Tensor, "batch time dim"], *, norm: nn.Module) -> Float[Tensor, "batch time vocab"]:
        """The logits, in fp32, that the head reads from a residual stream through `norm`."""
        x = norm(x)
        z = F.linear(x, self.embedding.weight) if self.head is None else self.head(x)
        z = z.float()
        if self.logit_scale != 1:  # a pass over all logits, and one over their gradients
            z = z * self.logit_scale
        return z if self.soft_cap is None else self.soft_cap * (z / self.soft_cap).tanh()

    def after_step(self) -> dict[str, Tensor]:
        """To be called once after every optimizer step; returns what the blocks report of its batch."""
        reports = []
        for block in self.blocks:
            assert isinstance(block, Block)
            reports.append(block.ffn.after_step())
        return over_blocks(reports)


def combine(auxes: Sequence[Aux]) -> Aux:
    """One `Aux` for the model: losses summed over blocks, each metric averaged over the blocks that report it."""
    losses = [aux.loss for aux in auxes if aux.loss is not None]
    metrics = averaged([aux.metrics for aux in auxes])
    return Aux(torch.stack(losses).sum(dim=0) if losses else None, metrics)


def over_blocks(reports: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Scalars averaged over blocks; the elements of vectors one by one, as `name.block.element`."""
    single = {
        f"{name}.{layer}.{i}": element
        for layer, report in enumerate(reports)
        for name, value in report.items()
        if value.ndim
        for i, element in enumerate(value.unbind())
    }
    return averaged([{k: v for k, v in report.items() if not v.ndim} for report in reports]) | single


def averaged(metrics: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Each metric averaged over the blocks that report it."""
    names = dict.fromkeys(name for block in metrics for name in block)
    return {name: torch.stack([block[name] for block in metrics if name in block]).mean() for name in names}
