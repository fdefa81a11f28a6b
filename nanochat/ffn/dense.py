"""Dense FFNs: some projections of the token, one pointwise function of them, one projection back.

A dense FFN is fully described by the shapes of its projections and by that function, `combine`. So one module
runs all of them, and a mixture of experts can run any of them as an expert, all experts in one matmul.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.core.spec import Count
from nanochat.ffn.base import FFN, Aux, FFNSpec


class Projection(NamedTuple):
    """One linear map: `weight` is [out, inputs], the optional bias [out]."""

    out: int
    inputs: int
    bias: bool

    @property
    def params(self) -> int:
        return self.out * self.inputs + self.biases

    @property
    def biases(self) -> int:
        return self.out if self.bias else 0


class DenseSpec(FFNSpec):
    """y = last(combine(first(x), second(x), …)); `hidden` is the width between, null where derived."""

    hidden: Count | None

    @abstractmethod
    def default_hidden(self, dim: int) -> int:
        """The width that a null `hidden` stands for."""

    @abstractmethod
    def projections(self, dim: int) -> dict[str, Projection]:
        """Its linear maps by name, of the resolved Spec: all read the token but the last, which leads back."""

    @abstractmethod
    def combine(self, *inputs: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        """The outputs of the first projections, in order, as the input of the last; pure and pointwise."""

    def resolve(self, geometry: Geometry) -> Self:
        return self if self.hidden else self.replace(hidden=self.default_hidden(geometry.dim))

    def cost(self, geometry: Geometry) -> Cost:
        parts = self.projections(geometry.dim).values()
        return dense_cost(sum(p.params for p in parts), lookups=sum(p.biases for p in parts))

    def build(self, geometry: Geometry) -> Dense:
        return Dense(self, dim=geometry.dim)


class Dense(FFN):
    """The module of every dense FFN; its parameters bear the names that the Spec gives."""

    def __init__(self, spec: DenseSpec, *, dim: int) -> None:
        super().__init__()
        self.combine = spec.combine
        *self.inputs, self.output = spec.projections(dim)
        self.roles = {f"{self.output}.weight": "residual"}
        for name, p in spec.projections(dim).items():
            linear = nn.Linear(p.inputs, p.out, bias=p.bias)
            if p.bias:
                nn.init.zeros_(linear.bias)
            self.add_module(name, linear)

    def forward(self, x: Float[Tensor, "batch time dim"]) -> tuple[Float[Tensor, "batch time dim"], Aux]:
        inputs = [self.get_submodule(name)(x) for name in self.inputs]
        return self.get_submodule(self.output)(self.combine(*inputs)), Aux(None, {})


def naive(spec: DenseSpec, x: Float[Tensor, "*rows dim"], parameters: dict[str, Tensor]) -> Float[Tensor, "*rows dim"]:
    """The definition in plain matmuls; `parameters` as in the module's `state_dict`."""
    *inputs, output = spec.projections(x.shape[-1])

    def apply(name: str, value: Tensor) -> Tensor:
        bias = parameters.get(f"{name}.bias")
        return value @ parameters[f"{name}.weight"].T + (torch.zeros(()) if bias is None else bias)

    return apply(output, spec.combine(*(apply(name, x) for name in inputs)))
