"""Routers: which experts a token goes to and what each counts, from this token alone.

They compute in fp32 even under autocast: rounding would flip close choices. What a router decides for a token must
not depend on later tokens, so expert choice, soft mixtures and capacities, which do, have no place here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.core.noise import Noise

KNOBS: dict[str, dict[str, float]] = {
    "softmax": {"balance_coef": 1e-2, "z_coef": 1e-3},
    "sigmoid": {"balance_coef": 1e-4, "gamma": 1e-3, "routed_scaling": 1.0},
    "gumbel": {"balance_coef": 1e-2, "z_coef": 1e-3, "noise": 1.0},
}
"""The fields of a `MoESpec` that have an effect under each router, and what null stands for there."""

NOT_CAUSAL: dict[str, str] = {
    "expert_choice": "reads the future: each expert picks its tokens from the whole sequence (2202.09368)",
    "soft": "reads the future: every slot is a mixture of all tokens of the sequence (Soft MoE, 2308.00951)",
}
"""Routers of the literature that a causal language model cannot have, and why."""


class Routing(NamedTuple):
    """Where tokens go, and what the losses need.

    counted: the choices that the balance loss counts · probabilities: each token's scores of all experts, summing
    to one.
    """

    chosen: Int[Tensor, "batch time top_k"]
    weights: Float[Tensor, "batch time top_k"]
    counted: Int[Tensor, "batch time top_k"]
    logits: Float[Tensor, "batch time experts"]
    probabilities: Float[Tensor, "batch time experts"]


class Router(nn.Module, ABC):
    """Scores experts by a linear map of the token, [experts, dim]; `renormalize` divides weights by their sum."""

    def __init__(self, *, dim: int, experts: int, top_k: int, renormalize: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, dim))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.top_k, self.renormalize = top_k, renormalize

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Routing:
        with torch.autocast(x.device.type, enabled=False):
            return self.route(F.linear(x.float(), self.weight.float()))

    @abstractmethod
    def route(self, logits: Float[Tensor, "batch time experts"]) -> Routing:
        """The decision, from the logits in fp32."""

    def after_step(self, counts: Int[Tensor, " experts"]) -> None:
        """Called once after every optimizer step with the tokens that each expert had in its batch."""

    def weigh(
        self, scores: Float[Tensor, "batch time experts"], chosen: Int[Tensor, "batch time top_k"]
    ) -> Float[Tensor, "batch time top_k"]:
        """The scores of the chosen experts, renormalised or not."""
        weights = scores.gather(-1, chosen)
        # Sigmoids can all underflow; a sum of softmax scores is never this small.
        return weights / (weights.sum(dim=-1, keepdim=True) + 1e-20) if self.renormalize else weights


class Softmax(Router):
    """The likeliest top_k of a softmax over all experts, weighted by it (Switch, 2101.03961; Mixtral, 2401.04088)."""

    def route(self, logits: Float[Tensor, "batch time experts"]) -> Routing:
        probabilities = logits.softmax(dim=-1)
        chosen = self.selection(logits).topk(self.top_k, dim=-1).indices
        return Routing(chosen, self.weigh(probabilities, chosen), chosen, logits, probabilities)

    def selection(self, logits: Float[Tensor, "batch time experts"]) -> Float[Tensor, "batch time experts"]:
        """The highest of these choose the experts."""
        return logits


class Gumbel(Softmax):
    """Explores: in training it chooses by logits + noise·Gumbel(0, 1), the weights being those without noise.

    Our own definition, after noisy top-k gating (Shazeer et al., 1701.06538, section 2.1). With noise=1 a token's
    choices are drawn without replacement from the softmax (Kool et al., 1903.06059). Evaluation has no noise.
    """

    def __init__(self, *, dim: int, experts: int, top_k: int, renormalize: bool, noise: float) -> None:
        super().__init__(dim=dim, experts=experts, top_k=top_k, renormalize=renormalize)
        self.scale = noise
        self.noise = Noise()

    def selection(self, logits: Float[Tensor, "batch time experts"]) -> Float[Tensor, "batch time experts"]:
        if not self.training:
            return logits
        uniform = self.noise.uniform(*logits.shape[1:], batch=len(logits), device=logits.device)
        return logits - self.scale * (-uniform.log()).log()


class Sigmoid(Router):
    """Scores each expert by a sigmoid and balances them by a bias that no gradient moves (DeepSeek-V3, 2412.19437,
    eqs. 12-16; Wang et al., 2408.15664).

    The highest scores + bias choose; the weights are the scores without bias, × `routed_scaling`. After every
    optimizer step the bias of an expert that had more than the mean number of tokens falls by `gamma`, that of one
    that had fewer rises. The balance loss counts what the scores alone would choose (eq. 18), their shares of the
    token's sum of scores being its probabilities (eq. 19).
    """

    bias: Float[Tensor, " experts"]

    def __init__(
        self, *, dim: int, experts: int, top_k: int, renormalize: bool, gamma: float, routed_scaling: float
    ) -> None:
        super().__init__(dim=dim, experts=experts, top_k=top_k, renormalize=renormalize)
        self.gamma, self.routed_scaling = gamma, routed_scaling
        self.register_buffer("bias", torch.zeros(experts))

    def route(self, logits: Float[Tensor, "batch time experts"]) -> Routing:
        scores = logits.sigmoid()
        chosen = (scores + self.bias).topk(self.top_k, dim=-1).indices
        counted = scores.topk(self.top_k, dim=-1).indices
        weights = self.weigh(scores, chosen) * self.routed_scaling
        return Routing(chosen, weights, counted, logits, scores / (scores.sum(dim=-1, keepdim=True) + 1e-20))

    def after_step(self, counts: Int[Tensor, " experts"]) -> None:
        load = counts.double()
        self.bias += self.gamma * (load.mean() - load).sign().to(self.bias.dtype)


ROUTERS: dict[str, Callable[..., Router]] = {"softmax": Softmax, "sigmoid": Sigmoid, "gumbel": Gumbel}
