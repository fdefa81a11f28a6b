"""Attention compiled for its own mask and scores (FlexAttention, Dong et al., 2412.05496), for CUDA.

Blocks of pairs that the mask rules out are never computed. It is compiled in training, where all batches have one
shape; without gradients (evaluation, decoding), where each has its own, the same function runs uncompiled, and on a
CPU too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from nanochat.attention.softmax import Scores
from nanochat.attention.window import windowed


def flex(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    scores: Scores,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """The scores bounded and biased one by one, the weights shared with the sinks afterwards."""
    q_len, k_len, sinks = q.shape[2], k.shape[2], scores.sinks
    if docs is None:
        # Models are traced on a CPU with tensors that hold no data: such a mask must not be kept.
        blocks_of = cached_blocks_of_window if q.is_cuda else blocks_of_window
        blocks = blocks_of(scores.window, q_len=q_len, k_len=k_len, device=q.device)
    else:
        blocks = blocks_of_documents(scores.window, docs=docs, q_len=q_len)
    attend = compiled() if q.is_cuda and torch.is_grad_enabled() else uncompiled
    y, aux = attend(
        q,
        k,
        v,
        score_mod=modifier(soft_cap=scores.soft_cap, bias=scores.bias(q, k)),
        block_mask=blocks,
        scale=scores.scale,
        enable_gqa=q.shape[1] != k.shape[1],
        return_aux=AuxRequest(lse=sinks is not None),
    )
    if sinks is None:
        return y
    # Over Σ eˢ + e^sink instead of Σ eˢ = e^lse: what is left is the share e^lse / (e^lse + e^sink).
    return y * (aux.lse - sinks[:, None]).sigmoid()[..., None].to(y.dtype)


@cache
def compiled() -> Callable[..., Any]:
    """`flex_attention`, compiled at its first call; where it cannot be, that is an error, never a slower kernel."""
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


def uncompiled(q: Tensor, k: Tensor, v: Tensor, **rules: Any) -> Any:
    """`flex_attention` by plain matmuls, without its warning that it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        return flex_attention(q, k, v, **rules)


def modifier(*, soft_cap: float | None, bias: Tensor | None) -> Callable[..., Tensor] | None:
    """What happens to a scaled score before the mask, None where nothing does."""
    if soft_cap is None:
        return None if bias is None else lambda score, batch, head, query, key: score + bias[head, query, key]
    if bias is None:
        return lambda score, batch, head, query, key: soft_cap * torch.tanh(score / soft_cap)
    return lambda score, batch, head, query, key: soft_cap * torch.tanh(score / soft_cap) + bias[head, query, key]


def blocks_of_window(window: int | None, *, q_len: int, k_len: int, device: torch.device) -> BlockMask:
    """Which blocks the mask of the window leaves."""
    mask, past = windowed(window), k_len - q_len
    # Evaluation, too, may be the first to ask for what training will use.
    with torch.inference_mode(False):
        return create_block_mask(
            lambda batch, head, query, key: mask(query + past, key, head), None, None, q_len, k_len, device=device
        )


@lru_cache(maxsize=32)
def cached_blocks_of_window(window: int | None, *, q_len: int, k_len: int, device: torch.device) -> BlockMask:
    """The same, made once for all layers and steps."""
    return blocks_of_window(window, q_len=q_len, k_len=k_len, device=device)


def blocks_of_documents(window: int | None, *, docs: Int[Tensor, "batch key"], q_len: int) -> BlockMask:
    """The same within documents, sequence by sequence."""
    mask, (batch, k_len) = windowed(window), docs.shape
    assert q_len == k_len, "documents are packed in training"
    return create_block_mask(
        lambda sequence, head, query, key: mask(query, key, head) & (docs[sequence, query] == docs[sequence, key]),
        batch,
        None,
        q_len,
        k_len,
        device=docs.device,
    )
