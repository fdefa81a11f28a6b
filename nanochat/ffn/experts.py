"""Many dense FFNs of one shape, their weights stacked, each token sent to some of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.ffn.dense import DenseSpec, Projection


class StackedLinear(nn.Module):
    """One linear map per expert: `weight` is [experts, out, inputs], the bias [experts, out]."""

    def __init__(self, projection: Projection, *, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, projection.out, projection.inputs))
        self.bias = nn.Parameter(torch.zeros(experts, projection.out)) if projection.bias else None
        for weight in self.weight:
            nn.init.kaiming_uniform_(weight, a=5**0.5)

    def grouped(
        self, rows: Float[Tensor, "rows inputs"], *, ends: Int[Tensor, " experts"], expert: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows out"]:
        """Rows sorted by expert; those of expert e are the ones before `ends[e]` that no earlier expert has."""
        weight = self.weight
        if torch.is_autocast_enabled(rows.device.type):  # which does not know grouped_mm
            dtype = torch.get_autocast_dtype(rows.device.type)
            rows, weight = rows.to(dtype), weight.to(dtype)
        out = F.grouped_mm(rows, weight.transpose(-2, -1), offs=ends)
        return out if self.bias is None else out + self.bias[expert]

    def single(self, rows: Float[Tensor, "rows inputs"], *, expert: int) -> Float[Tensor, "rows out"]:
        """All rows through one expert."""
        return F.linear(rows, self.weight[expert], None if self.bias is None else self.bias[expert])


class Experts(nn.Module):
    """The experts that a dense Spec describes; parameters are named as in the dense module, experts stacked first."""

    def __init__(self, spec: DenseSpec, *, dim: int, experts: int) -> None:
        super().__init__()
        assert spec.hidden is not None, "unresolved"
        self.combine = spec.combine
        self.channels = tuple(spec.channel_parameters())
        self.count = experts
        *self.inputs, self.output = spec.projections(dim)
        self.roles = {f"{self.output}.weight": "residual", **dict.fromkeys(self.channels, "vector")}
        for name, projection in spec.projections(dim).items():
            self.add_module(name, StackedLinear(projection, experts=experts))
        for name, start in spec.channel_parameters().items():
            self.register_parameter(name, nn.Parameter(torch.full((experts, spec.hidden), start)))

    def grouped(
        self,
        x: Float[Tensor, "tokens dim"],
        chosen: Int[Tensor, "tokens top_k"],
        weights: Float[Tensor, "tokens top_k"],
    ) -> Float[Tensor, "tokens dim"]:
        """Σ weights·expert(x): sort the (token, choice) pairs by expert, one grouped matmul per projection, add up."""
        expert, order = chosen.flatten().sort(stable=True)
        token = order // chosen.shape[1]
        counts = torch.zeros(self.count, dtype=torch.int32, device=x.device)
        counts = counts.scatter_add_(0, expert, torch.ones_like(expert, dtype=torch.int32))
        ends = counts.cumsum(0, dtype=torch.int32)
        rows = x.index_select(0, token)  # whose gradient is added up, not put: a tenth of the time
        inputs = [self._linear(name).grouped(rows, ends=ends, expert=expert) for name in self.inputs]
        channels = [self.get_parameter(name)[expert] for name in self.channels]
        out = self._linear(self.output).grouped(self.combine(*inputs, *channels), ends=ends, expert=expert)
        out = out * weights.flatten().index_select(0, order)[:, None]
        return torch.zeros_like(x).index_add(0, token, out.to(x.dtype))

    def loop(
        self,
        x: Float[Tensor, "tokens dim"],
        chosen: Int[Tensor, "tokens top_k"],
        weights: Float[Tensor, "tokens top_k"],
    ) -> Float[Tensor, "tokens dim"]:
        """The same, expert after expert."""
        y = torch.zeros_like(x)
        for expert in range(self.count):
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            inputs = [self._linear(name).single(x[token], expert=expert) for name in self.inputs]
            channels = [self.get_parameter(name)[expert] for name in self.channels]
            out = self._linear(self.output).single(self.combine(*inputs, *channels), expert=expert)
            y = y.index_add(0, token, (out * weights[token, slot, None]).to(x.dtype))
        return y

    def _linear(self, name: str) -> StackedLinear:
        module = self.get_submodule(name)
        assert isinstance(module, StackedLinear)
        return module
