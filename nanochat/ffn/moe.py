"""Mixture of experts (Shazeer et al., 1701.06538; Switch, 2101.03961; Mixtral, 2401.04088).

y = shared(x) + Σ over the top_k experts of g_i·E_i(x). No expert has a capacity and no token is dropped: dropping
would let tokens, later ones included, decide each other's fate.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nanochat.core.errors import SpecError, spec_error
from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.core.spec import Count
from nanochat.core.spec import Int as Whole
from nanochat.ffn.base import FFN, Aux, FFNSpec
from nanochat.ffn.dense import DenseSpec
from nanochat.ffn.experts import Experts

WIDTH_MULTIPLE = 8
"""Rows of 16 bytes in half precision: what grouped matmuls ask of every width."""


class MoESpec(FFNSpec):
    """expert: any dense FFN, null `hidden` being the dense one's / (top_k + shared), to the nearest multiple of 8, so
    that a token meets about as many FFN parameters as in the dense model · experts: routed experts · top_k: those
    that a token goes to · shared: experts of the same width that every token goes to besides · router: softmax, the
    weights being the softmax over all experts at the chosen ones · renormalize: whether a token's weights are
    divided by their sum; null is yes for top_k > 1 (Mixtral), no for 1 (Switch), where it would make every weight 1
    and leave the router without gradient · balance_coef: of the Switch balance loss, which is 1 when balanced ·
    z_coef: of the mean squared logsumexp of the router's logits (ST-MoE, 2202.08906, eq. 5) · kernel: grouped (all
    experts in one grouped matmul) or loop (expert after expert, the reference).
    """

    experts: Count
    top_k: Count
    shared: Annotated[Whole, Field(ge=0)]
    expert: DenseSpec
    router: Literal["softmax"]
    renormalize: bool | None
    balance_coef: Annotated[float, Field(ge=0)]
    z_coef: Annotated[float, Field(ge=0)]
    kernel: Literal["grouped", "loop"]

    def resolve(self, geometry: Geometry) -> Self:
        if self.top_k > self.experts:
            raise spec_error("top_k", self.top_k, f"must be at most experts={self.experts}", f"try {self.experts}")
        renormalize = self.top_k > 1 if self.renormalize is None else self.renormalize
        if renormalize and self.top_k == 1 < self.experts:
            rule = "with top_k=1 would make every weight 1 and leave the router without gradient"
            raise spec_error("renormalize", renormalize, rule, "use null or false")
        try:
            expert = self.expert.resolve(geometry)
        except SpecError as error:
            raise error.under("expert") from error
        if self.expert.hidden is None:
            assert expert.hidden is not None
            expert = expert.replace(hidden=nearest_multiple(expert.hidden / (self.top_k + self.shared)))
        self._check_widths(expert, dim=geometry.dim)
        return self.replace(expert=expert, renormalize=renormalize)

    def cost(self, geometry: Geometry) -> Cost:
        router = dense_cost(geometry.dim * self.experts)
        one = self.expert.cost(geometry)
        active = self.top_k * one.active_params
        flops = self.top_k * one.flops
        routed = Cost(params=self.experts * one.params, active_params=active, flops=flops, flops_mfu=flops)
        return router + routed + (self._shared.cost(geometry) if self.shared else Cost())

    def build(self, geometry: Geometry) -> MoE:
        shared = self._shared.build(geometry) if self.shared else None
        return MoE(self, dim=geometry.dim, shared=shared)

    @property
    def _shared(self) -> DenseSpec:
        """The shared experts as one FFN: a sum of dense FFNs is one whose hidden width is the sum of theirs."""
        assert self.expert.hidden is not None, "unresolved"
        return self.expert.replace(hidden=self.shared * self.expert.hidden)

    def _check_widths(self, expert: DenseSpec, *, dim: int) -> None:
        """Grouped matmuls need aligned rows: the expert's width and the model's."""
        assert expert.hidden is not None
        if self.kernel == "loop":
            return
        if expert.hidden % WIDTH_MULTIPLE:
            rule = f"must be a multiple of {WIDTH_MULTIPLE} for kernel=grouped"
            remedy = f"try {nearest_multiple(expert.hidden)}, or kernel=loop"
            raise spec_error("expert.hidden", expert.hidden, rule, remedy)
        if dim % WIDTH_MULTIPLE:
            rule = f"needs dim={dim} to be a multiple of {WIDTH_MULTIPLE}"
            raise spec_error("kernel", self.kernel, rule, "use kernel=loop")


def nearest_multiple(width: float, *, of: int = WIDTH_MULTIPLE) -> int:
    """The multiple of `of` nearest to `width`, at least one of it; halfway goes up."""
    return max(of, int(width / of + 0.5) * of)


class Routing(NamedTuple):
    """Where tokens go: the chosen experts and their weights, and what the losses need."""

    chosen: Int[Tensor, "batch time top_k"]
    weights: Float[Tensor, "batch time top_k"]
    logits: Float[Tensor, "batch time experts"]
    probabilities: Float[Tensor, "batch time experts"]


class MoE(FFN):
    """Route, run the chosen experts, add the shared ones; report balance losses and load metrics."""

    def __init__(self, spec: MoESpec, *, dim: int, shared: FFN | None) -> None:
        super().__init__()
        assert spec.renormalize is not None, "unresolved"
        self.top_k, self.renormalize, self.kernel = spec.top_k, spec.renormalize, spec.kernel
        self.balance_coef, self.z_coef = spec.balance_coef, spec.z_coef
        self.router = nn.Linear(dim, spec.experts, bias=False)
        self.experts = Experts(spec.expert, dim=dim, experts=spec.experts)
        self.shared = shared

    def forward(self, x: Float[Tensor, "batch time dim"]) -> tuple[Float[Tensor, "batch time dim"], Aux]:
        routing = self.route(x)
        run = self.experts.grouped if self.kernel == "grouped" else self.experts.loop
        y = run(x.flatten(0, 1), routing.chosen.flatten(0, 1), routing.weights.flatten(0, 1)).view_as(x)
        if self.shared is not None:
            y = y + self.shared(x)[0]
        return y, self.aux(routing)

    def route(self, x: Float[Tensor, "batch time dim"]) -> Routing:
        """Choose by the softmax of the router, in fp32 even under autocast: rounding would flip close choices."""
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.router.weight.float())
        probabilities = logits.softmax(dim=-1)
        weights, chosen = probabilities.topk(self.top_k, dim=-1)
        if self.renormalize:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return Routing(chosen, weights, logits, probabilities)

    def aux(self, routing: Routing) -> Aux:
        """Losses per sequence, and over the whole batch: load_entropy, the entropy of the experts' shares of tokens
        over that of equal shares, and max_violation, the largest share over the mean share, minus one.
        """
        load = load_per_sequence(routing.chosen, experts=routing.logits.shape[-1])
        balance = switch_balance(load, routing.probabilities.mean(dim=1))
        z = routing.logits.logsumexp(dim=-1).square().mean(dim=1)
        share = load.mean(dim=0)
        experts = share.new_tensor(len(share))
        entropy = torch.special.entr(share).sum() / experts.log() if len(share) > 1 else share.new_ones(())
        metrics = {"load_entropy": entropy, "max_violation": share.max() * experts - 1}
        return Aux(self.balance_coef * balance + self.z_coef * z, metrics)


def load_per_sequence(chosen: Int[Tensor, "batch time top_k"], *, experts: int) -> Float[Tensor, "batch experts"]:
    """Each expert's share of a sequence's (token, choice) pairs; it has no gradient."""
    flat = chosen.flatten(1)
    counts = torch.zeros(len(flat), experts, device=chosen.device)
    return counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=counts.dtype)) / flat.shape[1]


def switch_balance(
    load: Float[Tensor, "batch experts"], probability: Float[Tensor, "batch experts"]
) -> Float[Tensor, " batch"]:
    """E·Σ f_i·P_i (Switch, eq. 4), f the share of tokens and P the mean probability: 1 when either is even."""
    return load.shape[-1] * (load * probability).sum(dim=-1)
