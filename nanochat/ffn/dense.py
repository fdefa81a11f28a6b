"""Dense FFNs: some projections of the token, one pointwise function of them, one projection back.

A dense FFN is fully described by the shapes of its projections, by that function, `combine`, and by what the
function learns for each channel. So one module runs all of them, and a mixture of experts can run any of them as an
expert, all experts in one matmul.
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
    def combine(self, *inputs: Float[Tensor, "*#rows hidden"]) -> Float[Tensor, "*#rows hidden"]:
        """The input of the last projection: a pure pointwise function of the outputs of the others, in order, and
        then of the channel parameters, in order, which broadcast over rows.
        """

    def channel_parameters(self) -> dict[str, float]:
        """What `combine` learns for each hidden channel: names, other than those of projections, and first values."""
        return {}

    def resolve(self, geometry: Geometry) -> Self:
        return self if self.hidden else self.replace(hidden=self.default_hidden(geometry.dim))

    def cost(self, geometry: Geometry) -> Cost:
        """Parameters: Σ out·in over the projections, their biases, `hidden` for each channel parameter; 6 FLOPs a
        token for each weight of a projection."""
        assert self.hidden is not None, "unresolved"
        parts = self.projections(geometry.dim).values()
        vectors = sum(p.biases for p in parts) + self.hidden * len(self.channel_parameters())
        return dense_cost(sum(p.out * p.inputs for p in parts) + vectors, lookups=vectors)

    def build(self, geometry: Geometry) -> Dense:
        return Dense(self, dim=geometry.dim)


class Dense(FFN):
    """The module of every dense FFN; its parameters bear the names that the Spec gives."""

    def __init__(self, spec: DenseSpec, *, dim: int) -> None:
        super().__init__()
        assert spec.hidden is not None, "unresolved"
        self.combine = spec.combine
        self.channels = tuple(spec.channel_parameters())
        *self.inputs, self.output = spec.projections(dim)
        self.roles = {f"{self.output}.weight": "residual"}
        for name, p in spec.projections(dim).items():
            linear = nn.Linear(p.inputs, p.out, bias=p.bias)
            if p.bias:
                nn.init.zeros_(linear.bias)
            self.add_module(name, linear)
        for name, start in spec.channel_parameters().items():
            self.register_parameter(name, nn.Parameter(torch.full((spec.hidden,), start)))

    def forward(self, x: Float[Tensor, "batch time dim"]) -> tuple[Float[Tensor, "batch time dim"], Aux]:
        inputs = [self.get_submodule(name)(x) for name in self.inputs]
        channels = [self.get_parameter(name) for name in self.channels]
        return self.get_submodule(self.output)(self.combine(*inputs, *channels)), Aux(None, {})


def naive(spec: DenseSpec, x: Float[Tensor, "*rows dim"], parameters: dict[str, Tensor]) -> Float[Tensor, "*rows dim"]:
    """The definition in plain matmuls; `parameters` as in the module's `state_dict`."""
    *inputs, output = spec.projections(x.shape[-1])

    def apply(name: str, value: Tensor) -> Tensor:
        bias = parameters.get(f"{name}.bias")
        return value @ parameters[f"{name}.weight"].T + (torch.zeros(()) if bias is None else bias)

    channels = (parameters[name] for name in spec.channel_parameters())
    return apply(output, spec.combine(*(apply(name, x) for name in inputs), *channels))
