"""A user's own components, each with one mistake planted in it; `right` ones have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.keyvalue import KeyValue, extend, merge_heads, split_heads
from nanochat.core.geometry import Cost, Geometry, attention_cost, dense_cost
from nanochat.core.spec import Count
from nanochat.data.base import DataSpec, Document
from nanochat.ffn.base import FFN, Aux, FFNSpec
from nanochat.lr.base import LRSpec
from nanochat.objective.base import Loss
from nanochat.objective.next_token import NextTokenSpec
from nanochat.position.base import Hook, Position


class RightAttentionSpec(AttentionSpec):
    """Multi-head attention in plain matmuls."""

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed", "rotate"})
    mistake: ClassVar[str] = ""

    heads: Count

    def resolve(self, geometry: Geometry) -> Any:
        return self

    def cost(self, geometry: Geometry) -> Cost:
        dim, context = geometry.dim, geometry.context
        scores = attention_cost(
            heads=self.heads,
            qk_dim=dim // self.heads,
            v_dim=dim // self.heads,
            pairs=(context + 1) / 2,
            context=context,
        )
        return dense_cost(4 * dim**2) + scores + Cost(state_bytes=4 * dim)

    def build(self, geometry: Geometry, *, position: Position) -> Attention[Any]:
        return PlantedAttention(geometry.dim, heads=self.heads, position=position, mistake=self.mistake)


class PlantedAttention(Attention[KeyValue]):
    def __init__(self, dim: int, *, heads: int, position: Position, mistake: str) -> None:
        super().__init__()
        self.width, self.position, self.mistake = dim // heads, position, mistake
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x, *, state=None, docs=None, values=None):
        q, k, v = (split_heads(p(x), self.width) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.position.rotate(q, k, offset=state.length if state else 0)
        state = extend(state, k, v)
        weights = self.weights(q @ state.k.mT / self.width**0.5, docs=docs)
        y = weights @ state.v
        if self.mistake == "over the heads of one token":
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        y = self.o_proj(merge_heads(y))
        return F.rms_norm(y, y.shape[-1:]) if self.mistake == "norm" else y, state

    def weights(self, scores: Tensor, *, docs: Tensor | None) -> Tensor:
        q_len, k_len = scores.shape[-2:]
        query, key = torch.arange(k_len - q_len, k_len)[:, None], torch.arange(k_len)
        allowed = key <= query
        if self.mistake in ("no mask", "queries without mask"):
            allowed = torch.ones_like(allowed)
        if self.mistake == "shifted mask":
            allowed = key <= query + 1
        if self.mistake == "mask the wrong way round":
            allowed = key >= query
        if docs is not None:
            allowed = allowed & (docs[:, None, :, None] == docs[:, None, None, :])
        if self.mistake in ("queries", "queries without mask"):
            return scores.masked_fill(~allowed, float("-inf")).softmax(-2).nan_to_num()
        if self.mistake == "heads":
            return scores.masked_fill(~allowed, -1e9).softmax(1)
        if self.mistake == "heads, minus infinity":
            return scores.masked_fill(~allowed, float("-inf")).softmax(1)
        if self.mistake == "heads, masked afterwards":
            return scores.softmax(1) * allowed
        if self.mistake == "batch":
            return scores.softmax(0) * allowed
        return scores.masked_fill(~allowed, float("-inf")).softmax(-1)


class NoMaskSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "no mask"


class ShiftedMaskSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "shifted mask"


class WrongWayMaskSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "mask the wrong way round"


class OverQueriesSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "queries"


class OverQueriesNoMaskSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "queries without mask"


class OverHeadsSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "heads"


class OverHeadsInfinitySpec(RightAttentionSpec):
    mistake: ClassVar[str] = "heads, minus infinity"


class OverHeadsAfterwardsSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "heads, masked afterwards"


class OverBatchSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "batch"


class WithinTokenSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "over the heads of one token"


class NormedAttentionSpec(RightAttentionSpec):
    mistake: ClassVar[str] = "norm"


class RightFFNSpec(FFNSpec):
    """An MLP."""

    mistake: ClassVar[str] = ""

    hidden: Count

    def resolve(self, geometry: Geometry) -> Any:
        return self

    def cost(self, geometry: Geometry) -> Cost:
        return dense_cost(2 * geometry.dim * self.hidden)

    def build(self, geometry: Geometry) -> FFN:
        return PlantedFFN(geometry.dim, hidden=self.hidden, mistake=self.mistake)


class PlantedFFN(FFN):
    def __init__(self, dim: int, *, hidden: int, mistake: str) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden, bias=False), nn.Linear(hidden, dim, bias=False)
        self.noise = nn.Dropout(0.1)
        self.mistake = mistake

    def forward(self, x):
        inner = F.gelu(self.up(F.rms_norm(x, x.shape[-1:]) if self.mistake == "inner norms" else x))
        if self.mistake == "inner norms":
            inner = F.rms_norm(inner, inner.shape[-1:])
        y = self.down(inner)
        if self.mistake == "norm":
            y = F.rms_norm(y, y.shape[-1:])
        if self.mistake == "layer norm":
            y = F.layer_norm(y, y.shape[-1:])
        if self.mistake == "mixes tokens":
            y = y - y.mean(1, keepdim=True)
        if self.mistake == "mixes sequences":
            y = y - y.mean(0, keepdim=True)
        if self.mistake == "no gradient":
            y = y.detach()
        if self.mistake == "noise of its own":
            y = self.noise(y)
        return y, Aux(None, {})


class NormedFFNSpec(RightFFNSpec):
    mistake: ClassVar[str] = "norm"


class LayerNormedFFNSpec(RightFFNSpec):
    mistake: ClassVar[str] = "layer norm"


class InnerNormsFFNSpec(RightFFNSpec):
    """Right: norms before each projection are a matter of taste."""

    mistake: ClassVar[str] = "inner norms"


class MixingFFNSpec(RightFFNSpec):
    mistake: ClassVar[str] = "mixes tokens"


class CoupledFFNSpec(RightFFNSpec):
    mistake: ClassVar[str] = "mixes sequences"


class DetachedFFNSpec(RightFFNSpec):
    mistake: ClassVar[str] = "no gradient"


class NoisyFFNSpec(RightFFNSpec):
    mistake: ClassVar[str] = "noise of its own"


class MiscountedFFNSpec(RightFFNSpec):
    def cost(self, geometry: Geometry) -> Cost:
        return dense_cost(4 * geometry.dim * self.hidden)


class OwnInputSpec(NextTokenSpec):
    def targets(self, tokens):
        return tokens[:, :-1]


class TwoAheadSpec(NextTokenSpec):
    def targets(self, tokens):
        return tokens.roll(-2, dims=1)[:, :-1]


class ShiftedTwiceSpec(NextTokenSpec):
    """`targets` is right; the loss shifts once more, as if logits and targets were not aligned already."""

    def measure(self, model, extra, tokens, *, docs):
        output = model(tokens[:, :-1], docs=docs)
        nats = self.nats(output.logits[:, :-1], self.targets(tokens)[:, 1:])
        return Loss(nats, nats.detach(), output.aux)


class MeanSpec(NextTokenSpec):
    """A mean where a sum is asked for."""

    def nats(self, logits, targets):
        return super().nats(logits, targets) / targets.numel()


class SlidingSpec(DataSpec):
    """Windows that start one character after each other, in place of documents."""

    def documents(self) -> Iterator[Document]:
        generator = torch.Generator().manual_seed(0)
        letters = torch.randint(26, (1500,), generator=generator).tolist()
        text = "".join(chr(97 + letter) for letter in letters)
        for start in range(0, 1200):
            yield Document(f"window:{start}", text[start : start + 200])

    def describe(self) -> str:
        return "sliding windows"


class FlatSpec(LRSpec):
    """The peak from the first step to the last."""

    def rate(self, step: int, *, steps: int) -> float:
        return self.peak

    def factor(self, progress: float) -> float:
        return 1.0
