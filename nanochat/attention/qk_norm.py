"""Norms of queries and keys, which bound the scores (Henry et al., 2010.04245; Dehghani et al., 2302.05442).

none · head: RMSNorm of each head, one gain for all heads, before the rotation (Qwen3, 2505.09388) · vector: RMSNorm
over all heads together, before the rotation (OLMo 2, 2501.00656) · plain: RMS of each head after the
rotation, without a gain (karpathy's nanochat).
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nanochat.core.errors import spec_error
from nanochat.norm.rmsnorm import RMSNorm

QKNorm = Literal["none", "head", "vector", "plain"]


def gain_width(kind: QKNorm, *, heads: int, head_dim: int) -> int:
    """Channels of the gain over `heads` heads, 0 where there is none."""
    return {"none": 0, "head": head_dim, "vector": heads * head_dim, "plain": 0}[kind]


def build_norm(kind: QKNorm, *, heads: int, head_dim: int, eps: float) -> RMSNorm | None:
    """The norm that has a gain, None where there is none."""
    width = gain_width(kind, heads=heads, head_dim=head_dim)
    return RMSNorm(width, eps=eps) if width else None


def normed(x: Float[Tensor, "batch time channels"], norm: RMSNorm | None) -> Float[Tensor, "batch time channels"]:
    """Queries or keys before they are split into heads, each stretch as wide as the gain normed by itself."""
    return x if norm is None else norm(x.unflatten(-1, (-1, norm.weight.numel()))).flatten(-2)


def plain(x: Float[Tensor, "batch heads time head_dim"], *, eps: float) -> Float[Tensor, "batch heads time head_dim"]:
    """Each head over its root mean square."""
    return F.rms_norm(x, x.shape[-1:], None, eps)


def resolve_eps(kind: QKNorm, eps: float | None) -> float | None:
    """Null is 1e-6 where there is a norm; raises `SpecError` on `qk_norm_eps` where there is none to use it."""
    if kind != "none":
        return eps or 1e-6
    if eps is not None:
        raise spec_error("qk_norm_eps", eps, "has no use where qk_norm=none", "use null, or set qk_norm")
    return None
