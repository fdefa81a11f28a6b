"""FlashAttention (Dao, 2307.08691) through the package flash-attn, which needs CUDA and half precision."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nanochat.attention.softmax import Scores
from nanochat.core.errors import MachineError

WIDEST = 256
"""Channels of a head at most."""


def installed() -> bool:
    """Whether the package is there; it is imported only where it is used."""
    return importlib.util.find_spec("flash_attn") is not None


def flash(
    q: Float[Tensor, "batch heads query head_dim"],
    k: Float[Tensor, "batch kv_heads key head_dim"],
    v: Float[Tensor, "batch kv_heads key head_dim"],
    *,
    scores: Scores,
    docs: Int[Tensor, "batch key"] | None,
) -> Float[Tensor, "batch heads query head_dim"]:
    """Packed documents are sequences of their own. Raises `MachineError` where the package or its device is missing."""
    package = load()
    if q.device.type != "cuda" or q.dtype not in (torch.bfloat16, torch.float16):
        got = f"{q.dtype} on {q.device.type}".removeprefix("torch.")
        raise MachineError(f"attention.kernel=flash works in half precision on CUDA, not in {got}; train in bf16")
    batch, _, k_len, _ = k.shape
    rules = {
        "softmax_scale": scores.scale,
        "causal": True,  # aligned bottom-right: the queries are the last tokens
        "window_size": (-1, -1) if scores.window is None else (scores.window - 1, 0),
        "softcap": scores.soft_cap or 0.0,
    }
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if docs is None:
        return package.flash_attn_func(q, k, v, **rules).transpose(1, 2)
    bounds = boundaries(docs)
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    y = package.flash_attn_varlen_func(q, k, v, bounds, bounds, k_len, k_len, **rules)
    return y.unflatten(0, (batch, k_len)).transpose(1, 2)


def load() -> ModuleType:
    """The package, imported."""
    try:
        return importlib.import_module("flash_attn")
    except ImportError as error:
        remedy = "pip install 'nanochat[flash]' beside CUDA, or use kernel=sdpa or kernel=flex"
        raise MachineError(f"attention.kernel=flash cannot import flash-attn ({error}); {remedy}") from error


def boundaries(docs: Int[Tensor, "batch time"]) -> Int[Tensor, " documents_and_one"]:
    """Where each document begins when all sequences stand in one row, and where the last one ends."""
    begins = F.pad(docs[:, 1:] != docs[:, :-1], (1, 0), value=True).flatten()
    return F.pad(begins.nonzero()[:, 0], (0, 1), value=begins.numel()).to(torch.int32)
