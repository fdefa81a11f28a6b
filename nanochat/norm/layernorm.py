"""LayerNorm: subtract the mean, divide by the standard deviation, apply a gain (Ba et al., 1607.06450, eq. 3-4)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn, ones, zeros

from nanochat.core.geometry import Cost, dense_cost
from nanochat.core.spec import Positive
from nanochat.norm.base import NormSpec


class LayerNormSpec(NormSpec):
    """`eps` is added to the variance, so that a constant vector becomes zero · bias: whether a bias is added."""

    eps: Positive
    bias: bool

    def build(self, dim: int) -> LayerNorm:
        return LayerNorm(dim, eps=self.eps, bias=self.bias)

    def cost(self, dim: int) -> Cost:
        """dim gains, and dim biases where there are any; no matmul, so no FLOPs are counted."""
        params = 2 * dim if self.bias else dim
        return dense_cost(params, lookups=params)


class LayerNorm(nn.Module):
    """(x - mean(x)) / √(var(x) + eps) · weight + bias, over the last dimension; starts at gain one and bias zero."""

    def __init__(self, dim: int, *, eps: float, bias: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(ones(dim))
        self.bias = nn.Parameter(zeros(dim)) if bias else None

    def forward(self, x: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
        # Under autocast x may be in half precision while gain and bias are not: bring them to x.
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, self.eps)


def naive(
    x: Float[Tensor, "*shape dim"],
    weight: Float[Tensor, " dim"],
    bias: Float[Tensor, " dim"] | None = None,
    *,
    eps: float,
) -> Float[Tensor, "*shape dim"]:
    """The definition, term by term; the variance is that of the vector itself, divided by dim and not by dim - 1."""
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight
    return y if bias is None else y + bias
