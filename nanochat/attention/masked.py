"""Who sees whom: one predicate per pattern, and the reference attention that any pattern can be held against."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

# mask(query, key, head) -> bool, elementwise over broadcast integer tensors of positions and head indices.
Mask = Callable[[Tensor, Tensor, Tensor], Tensor]


def causal(query: Tensor, key: Tensor, head: Tensor) -> Tensor:
    """Every head sees the token itself and all before it."""
    return key <= query


def visible(
    mask: Mask, *, q_len: int, k_len: int, heads: int = 1, device: torch.device | None = None
) -> Bool[Tensor, "#heads query key"]:
    """`mask` as a dense matrix, for queries that are the last `q_len` of `k_len` tokens."""
    query = torch.arange(k_len - q_len, k_len, device=device)[None, :, None]
    key = torch.arange(k_len, device=device)[None, None, :]
    head = torch.arange(heads, device=device)[:, None, None]
    return mask(query, key, head)


def same_document(docs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch 1 time time"]:
    """Pairs of tokens that lie in one document."""
    return (docs[:, :, None] == docs[:, None, :])[:, None]


def document_positions(docs: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Where each token stands in its document; a document begins wherever the number changes."""
    position = torch.arange(docs.shape[1], device=docs.device)
    begins = F.pad(docs[:, 1:] != docs[:, :-1], (1, 0), value=True)
    return position - torch.where(begins, position, 0).cummax(dim=1).values


def naive_attention(
    q: Float[Tensor, "batch heads query qk_dim"],
    k: Float[Tensor, "batch heads key qk_dim"],
    v: Float[Tensor, "batch heads key v_dim"],
    *,
    allowed: Bool[Tensor, "*#batch_heads query key"],
    scale: float,
    bias: Float[Tensor, "heads query key"] | None = None,
) -> Float[Tensor, "batch heads query v_dim"]:
    """softmax(q·kᵀ·scale + bias)·v over the allowed pairs, in plain matmuls: the reference of every fast path."""
    scores = q @ k.transpose(-2, -1) * scale
    if bias is not None:
        scores = scores + bias
    return scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1).to(v.dtype) @ v
