"""Mixture of experts (Shazeer et al., 1701.06538; Switch, 2101.03961; Mixtral, 2401.04088).

y = shared(x) + Σ over the top_k experts of g_i·E_i(x), a router choosing experts and weights g for each token. No
expert has a capacity and no token is dropped: dropping would let tokens, later ones included, decide each other's fate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from nanochat.core.errors import Problem, SpecError, alternatives, spec_error
from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.core.spec import Count, Positive
from nanochat.core.spec import Int as Whole
from nanochat.ffn.balance import balance_loss, evenness, load_metrics, load_per_sequence, tokens_per_expert, z_loss
from nanochat.ffn.base import FFN, Aux, FFNSpec
from nanochat.ffn.dense import DenseSpec
from nanochat.ffn.experts import Experts
from nanochat.ffn.router import KNOBS, NOT_CAUSAL, ROUTERS, Router, Routing

NotNegative = Annotated[float, Field(ge=0)]

WIDTH_MULTIPLE = 8
"""Rows of 16 bytes in half precision: what grouped matmuls ask of every width."""


class MoESpec(FFNSpec):
    """expert: any dense FFN, null `hidden` being the dense one's / (top_k + shared), to the nearest multiple of 8, so
    that a token meets about as many FFN parameters as in the dense model · experts: routed experts · top_k: those
    that a token goes to · shared: experts of the same width that every token goes to besides · router: softmax,
    sigmoid (with a bias that keeps the balance) or gumbel (with noise that explores) · renormalize: whether a
    token's weights are divided by their sum; null is yes for top_k > 1 (Mixtral), no for 1 (Switch), where it would
    make every weight 1 and leave the router without gradient · gamma: by how much sigmoid's bias moves after an
    optimizer step · routed_scaling: what sigmoid's weights are multiplied by · noise: scale of gumbel's noise ·
    balance_coef: of the balance loss, which is 1 when balanced · z_coef: of the mean squared logsumexp of a softmax
    router's logits · kernel: grouped (all experts in one grouped matmul) or loop (expert after expert, the
    reference). The fields from gamma to z_coef are null where the router has no use for them.
    """

    experts: Count
    top_k: Count
    shared: Annotated[Whole, Field(ge=0)]
    expert: DenseSpec
    router: Literal["softmax", "sigmoid", "gumbel"]
    renormalize: bool | None
    gamma: NotNegative | None
    routed_scaling: Positive | None
    noise: Positive | None
    balance_coef: NotNegative | None
    z_coef: NotNegative | None
    kernel: Literal["grouped", "loop"]

    @field_validator("router", mode="before")
    @classmethod
    def _causal(cls, router: Any) -> Any:
        if isinstance(router, str) and router in NOT_CAUSAL:
            raise spec_error("", router, NOT_CAUSAL[router], f"use {alternatives(KNOBS)}")
        return router

    @model_validator(mode="before")
    @classmethod
    def _dropless(cls, fields: Any) -> Any:
        for name in ("capacity_factor", "drop_tokens"):
            if isinstance(fields, Mapping) and name in fields:
                rule = "would drop a token because of what others, later ones too, have chosen"
                raise spec_error(name, fields[name], rule, "leave it out: every token reaches its experts")
        return fields

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
        return self.replace(expert=expert, renormalize=renormalize, **self._knobs())

    def _knobs(self) -> dict[str, float | None]:
        """The fields that depend on the router, filled where it uses them. Refuses those that it would not heed."""
        used, filled, problems = KNOBS[self.router], {}, []
        for name in ("gamma", "routed_scaling", "noise", "balance_coef", "z_coef"):
            value = getattr(self, name)
            filled[name] = used.get(name) if value is None else value
            if value is not None and name not in used:
                where = alternatives(f"router={router}" for router, knobs in KNOBS.items() if name in knobs)
                rule = f"has no effect with router={self.router}"
                problems.append(Problem(key=name, value=value, rule=rule, remedy=f"use null, or {where}"))
        if problems:
            raise SpecError(problems)
        return filled

    def check_compile(self, precision: str) -> None:
        if self.kernel == "grouped" and precision == "fp32":
            rule = "cannot be traced by torch.compile in fp32"
            raise spec_error("kernel", self.kernel, rule, "use trainer.compile=false, or bf16 on a GPU")

    def cost(self, geometry: Geometry) -> Cost:
        """Parameters: router experts·dim + (experts + shared)·one expert's; active: router + (top_k + shared)·one
        expert's; 6 FLOPs a token for each active weight that multiplies."""
        router = dense_cost(geometry.dim * self.experts)
        one = self.expert.cost(geometry)
        active = self.top_k * one.active_params
        flops = self.top_k * one.flops
        routed = Cost(params=self.experts * one.params, active_params=active, flops=flops, flops_mfu=flops)
        return router + routed + (self._shared.cost(geometry) if self.shared else Cost())

    def build(self, geometry: Geometry) -> MoE:
        shared = self._shared.build(geometry) if self.shared else None
        return MoE(self, dim=geometry.dim, router=self._router(geometry.dim), shared=shared)

    def _router(self, dim: int) -> Router:
        assert self.renormalize is not None, "unresolved"
        own = {name: getattr(self, name) for name in ("gamma", "routed_scaling", "noise") if name in KNOBS[self.router]}
        make = ROUTERS[self.router]
        return make(dim=dim, experts=self.experts, top_k=self.top_k, renormalize=self.renormalize, **own)

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


class MoE(FFN):
    """Route, run the chosen experts, add the shared ones; report balance losses and how tokens spread.

    In training it counts the tokens of each expert until `after_step`, over all micro-batches of the step.
    """

    counts: Int[Tensor, " experts"]

    def __init__(self, spec: MoESpec, *, dim: int, router: Router, shared: FFN | None) -> None:
        super().__init__()
        assert spec.balance_coef is not None, "unresolved"
        self.kernel = spec.kernel
        self.balance_coef, self.z_coef = spec.balance_coef, spec.z_coef
        self.router = router
        self.experts = Experts(spec.expert, dim=dim, experts=spec.experts)
        self.shared = shared
        self.register_buffer("counts", torch.zeros(spec.experts, dtype=torch.int64), persistent=False)

    def forward(self, x: Float[Tensor, "batch time dim"]) -> tuple[Float[Tensor, "batch time dim"], Aux]:
        routing: Routing = self.router(x)
        if self.training:
            self.counts += tokens_per_expert(routing.chosen, experts=len(self.counts)).sum(dim=0)
        run = self.experts.grouped if self.kernel == "grouped" else self.experts.loop
        y = run(x.flatten(0, 1), routing.chosen.flatten(0, 1), routing.weights.flatten(0, 1)).view_as(x)
        if self.shared is not None:
            y = y + self.shared(x)[0]
        return y, self.aux(routing)

    def aux(self, routing: Routing) -> Aux:
        """Losses per sequence; router_entropy, that of a token's probabilities over that of equal ones, on average."""
        load = load_per_sequence(routing.counted, experts=len(self.counts))
        loss = self.balance_coef * balance_loss(load, routing.probabilities.mean(dim=1))
        if self.z_coef is not None:
            loss = loss + self.z_coef * z_loss(routing.logits)
        return Aux(loss, {"router_entropy": evenness(routing.probabilities.detach()).mean()})

    def after_step(self) -> dict[str, Tensor]:
        """Let the router answer to the loads of the whole batch, on all devices; returns them as metrics."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.counts)
        self.router.after_step(self.counts)
        metrics = load_metrics(self.counts)
        self.counts.zero_()
        return metrics
