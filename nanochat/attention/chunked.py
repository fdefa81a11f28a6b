"""Sliding-window attention by chunks as wide as the window (after Longformer, 2004.05150, appendix A).

A query in chunk i sees keys of the chunks i−1 and i alone, so attention over each such pair, under the mask of the
window, is attention over the whole sequence: time and memory grow with context × window instead of context².
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from nanochat.attention.softmax import Scores, fused


def chunked(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    scores: Scores,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """Fused attention over all pairs of neighbouring chunks at once. Sinks, documents and biases act in every pair,
    since they depend on query and key alone.
    """
    window, q_len = scores.window, q.shape[2]
    assert window is not None, "refused by the Spec"
    if q_len <= window:
        return fused(q, k, v, scores=scores, docs=docs)
    past = k.shape[2] - q_len
    # Zeros in front, for tokens whose queries were answered before, and behind, up to whole chunks: nobody sees the
    # keys of those behind, and what they all would answer is cut off.
    end = -k.shape[2] % window
    q, k, v = F.pad(q, (0, 0, past, end)), F.pad(k, (0, 0, 0, end)), F.pad(v, (0, 0, 0, end))
    first_docs, pair_docs = None, None
    if docs is not None:
        docs = F.pad(docs, (0, end))
        first_docs, pair_docs = docs[:, :window], pair(docs[:, None, :, None], window)[:, 0, :, 0]
    # The first chunk has none before it: within the window it is plain causal attention.
    first = fused(*(x[:, :, :window] for x in (q, k, v)), scores=replace(scores, window=None), docs=first_docs)
    rest = rearrange(q[:, :, window:], "b h (n w) d -> (b n) h w d", w=window)
    rest = fused(rest, pair(k, window), pair(v, window), scores=scores, docs=pair_docs)
    rest = rearrange(rest, "(b n) h w d -> b h (n w) d", b=len(q))
    return torch.cat([first, rest], dim=2)[:, :, past : past + q_len]


def pair(x: Tensor, window: int) -> Tensor:
    """[batch, heads, chunks · window, width] to [batch · (chunks − 1), heads, 2 · window, width]: each chunk but the
    first, behind the one before it.
    """
    x = rearrange(x, "b h (n w) d -> b n h w d", w=window)
    return torch.cat([x[:, :-1], x[:, 1:]], dim=3).flatten(0, 1)
