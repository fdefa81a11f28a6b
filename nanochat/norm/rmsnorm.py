"""RMSNorm: divide by the root mean square, multiply by a gain (Zhang & Sennrich, 1910.07467, eq. 4)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn, ones

from nanochat.core.geometry import Cost, dense_cost
from nanochat.core.spec import Positive
from nanochat.norm.base import NormSpec


class RMSNormSpec(NormSpec):
    """`eps` is added to the mean square, so that a zero vector stays zero."""

    eps: Positive

    def build(self, dim: int) -> RMSNorm:
        return RMSNorm(dim, eps=self.eps)

    def cost(self, dim: int) -> Cost:
        return dense_cost(dim, lookups=dim)


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight, over the last dimension; the gain starts at one."""

    def __init__(self, dim: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(ones(dim))

    def forward(self, x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
        # Under autocast x may be in half precision while the gain is not: bring the gain to x.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def naive(x: Float[Tensor, "*shape dim"], weight: Float[Tensor, " dim"], *, eps: float) -> Float[Tensor, "*shape dim"]:
    """The definition, term by term."""
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
