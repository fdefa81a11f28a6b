"""Softmax attention over shared keys and values: the definition in plain matmuls, and torch's fused attention.

From q·k to the weights, in this order: × scale; soft cap c·tanh(s/c) (Gemma 2, 2408.00118, section 2); + the bias of
the position scheme; the mask, of causality, window and documents; a softmax over the scores and, where there are
sinks, one learned logit more for every head, whose share of the weight goes to no value (gpt-oss, 2508.10925).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nanochat.attention.masked import same_document, visible
from nanochat.attention.window import windowed
from nanochat.position.base import Position


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How scores become weights. scale: what q·k is multiplied by · soft_cap: c, None is none · window: keys that a
    query sees at most, None is all before it · sinks: a logit for every head · position: whose bias is added.
    """

    scale: float
    soft_cap: float | None
    window: int | None
    sinks: Float[Tensor, " heads"] | None
    position: Position

    def bias(self, q: Tensor, k: Tensor) -> Float[Tensor, "heads query key"] | None:
        """What the position scheme adds to the scores of `q` against `k`."""
        return self.position.bias(q.shape[2], k.shape[2], heads=q.shape[1], device=q.device)


# attend(q, k, v, scores=, docs=), the queries being those of the last tokens; docs only where k has the same tokens.
Kernel = Callable[..., Tensor]


def naive(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    scores: Scores,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """The definition, which every other kernel is held against: one dense mask, plain matmuls."""
    s = q @ each_head(k, q).transpose(-2, -1) * scores.scale
    if scores.soft_cap is not None:
        s = scores.soft_cap * (s / scores.soft_cap).tanh()
    bias = scores.bias(q, k)
    if bias is not None:
        s = s + bias
    s = s.masked_fill(~allowed(q, k, window=scores.window, docs=docs), float("-inf"))
    if scores.sinks is not None:
        s = torch.cat([s, scores.sinks[:, None, None].to(s.dtype).expand(*s.shape[:-1], 1)], dim=-1)
    weights = s.softmax(dim=-1)[..., : k.shape[2]]
    return weights.to(v.dtype) @ each_head(v, q)


def fused(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    scores: Scores,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """The same through `scaled_dot_product_attention`, which knows no soft cap. A bias is rounded to q's type."""
    assert scores.soft_cap is None, "refused by the Spec"
    q_len, k_len, window = q.shape[2], k.shape[2], scores.window
    bias = scores.bias(q, k)
    everything = docs is None and bias is None and scores.sinks is None and (window is None or window >= k_len)
    if everything and q_len in (1, k_len):
        # One query sees everything: no mask. `is_causal` aligns top-left, right only where q_len = k_len.
        return F.scaled_dot_product_attention(q, k, v, is_causal=q_len > 1, scale=scores.scale, enable_gqa=True)
    # K and V are copied to every query head: `enable_gqa` beside a mask falls to a slow kernel on CUDA.
    k, v = each_head(k, q), each_head(v, q)
    mask = allowed(q, k, window=window, docs=docs)
    if bias is not None:
        mask = bias.masked_fill(~mask, float("-inf")).to(q.dtype)
    if scores.sinks is not None:
        mask, k, v = with_sinks(mask, k, v, sinks=scores.sinks)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scores.scale)


def allowed(
    q: Tensor, k: Tensor, *, window: int | None, docs: Int[Tensor, "batch key"] | None
) -> Bool[Tensor, "#batch 1 query key"]:
    """The pairs that the window, and documents if any, let through."""
    seen = visible(windowed(window), q_len=q.shape[2], k_len=k.shape[2], device=q.device)[None]
    return seen if docs is None else seen & same_document(docs)[:, :, -q.shape[2] :]


def each_head(
    x: Float[Tensor, "batch kv_heads key head_dim"], q: Float[Tensor, "batch heads query head_dim"]
) -> Float[Tensor, "batch heads key head_dim"]:
    """Keys or values, copied to every query head that reads them."""
    groups = q.shape[1] // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def with_sinks(
    mask: Tensor, k: Tensor, v: Tensor, *, sinks: Float[Tensor, " heads"]
) -> tuple[Float[Tensor, "#batch heads query key_and_one"], Tensor, Tensor]:
    """Sinks as one more key and value of zeros: its score is 0 and what the mask adds to that, the sink itself."""
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=k.dtype, device=k.device).masked_fill(~mask, float("-inf"))
    mask = mask.expand(-1, len(sinks), -1, -1)
    column = sinks.to(mask.dtype)[:, None, None].expand(*mask.shape[:-1], 1)
    return torch.cat([mask, column], dim=-1), F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
