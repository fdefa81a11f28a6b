"""Muon: every matrix moves by its orthogonalised momentum (Jordan et al., 2024, kellerjordan.github.io/posts/muon).

The matrices inside blocks move so; embeddings, head, gains and biases by AdamW, as the authors advise. Momentum and
orthogonalisation are those of `torch.optim.Muon`, for stacked matrices (experts) each by itself. An iteration takes
up to 6·min(out, in) FLOPs for every weight, so a step costs as much as training on iterations·min(out, in) tokens.
"""

# pyright: reportPrivateImportUsage=false
# Torch's `_foreach` operations take many tensors in one call, which saves hundreds of launches on a GPU.

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nanochat.core.roles import Role
from nanochat.core.spec import Count, Positive
from nanochat.optimizer.base import Beta, GroupOptimizer, OptimizerSpec, parameter_groups

Adjust = Literal["original", "match_rms"]

MATRICES: tuple[Role, ...] = ("hidden", "residual")
"""What is orthogonalised. A head is a matrix as well, but its rows belong to tokens, seldom or often seen."""

QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of the iteration X ← aX + b(XXᵀ)X + c(XXᵀ)²X: chosen for its slope at zero, it brings singular values to
between about 0.7 and 1.2, and no further."""


class MuonSpec(OptimizerSpec):
    """momentum: decay of the mean of gradients · nesterov: whether a step looks ahead by it · iterations: of Newton and
    Schulz, the more the smaller the singular values that still get to about one · adjust: what an update is multiplied
    by. original: √max(1, out/in); match_rms: 0.2·√max(out, in), by which its elements are as large as AdamW's, rates
    of AdamW fit and so does their decay (Liu et al., 2502.16982) · weight_decay: times the rate, of matrices and head ·
    adam_factor: the rate of what AdamW moves, as a multiple of the schedule's · beta1, beta2, eps: AdamW's.
    """

    momentum: Beta
    nesterov: bool
    iterations: Count
    adjust: Adjust
    weight_decay: Annotated[float, Field(ge=0)]
    adam_factor: Positive
    beta1: Beta
    beta2: Beta
    eps: Positive

    def width_factor(self, role: Role, width: float) -> float:
        """An update of spectral norm √(out/in) changes outputs as much at any width (Yang et al., 2310.17813): that is
        the original scale, where both sides of a matrix grow; match_rms is √width times as much. The rest as Adam.
        """
        if role in MATRICES:
            return 1.0 if self.adjust == "original" else width**-0.5
        return super().width_factor(role, width)

    def state_per_parameter(self, role: Role) -> int:
        return 1 if role in MATRICES else 2

    def build(self, model: nn.Module, *, width: float = 1.0) -> Muon:
        groups = parameter_groups(model, optimizer=self, weight_decay=self.weight_decay, width=width)
        for group in groups:
            if group["role"] not in MATRICES:
                group["factor"] *= self.adam_factor
        return Muon(groups, spec=self, eps=self.eps / width)


class Muon(GroupOptimizer):
    """Keeps a momentum for each matrix, AdamW's two moments for everything else."""

    def __init__(
        self, groups: list[dict[str, Any]], *, spec: MuonSpec, eps: float, dtype: torch.dtype | None = None
    ) -> None:
        """dtype: of the iteration; None is bf16 on a GPU, whose matmuls are made for it, fp32 on a CPU."""
        # Torch moves the step counts of loaded states to a group's device where the group is said to be fused.
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "fused": True})
        self.spec = spec
        self.eps = eps
        self.dtype = dtype

    def move(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        move = self._muon if group["role"] in MATRICES else self._adamw
        move(params, gradients, rate=group["lr"], decay=group["weight_decay"])

    def _muon(self, params: list[Tensor], gradients: list[Tensor], *, rate: float, decay: float) -> None:
        spec, momenta = self.spec, self.kept(params, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - spec.momentum)
        ahead = torch._foreach_lerp(gradients, momenta, spec.momentum) if spec.nesterov else momenta
        torch._foreach_mul_(params, 1 - rate * decay)
        for shape in dict.fromkeys(p.shape for p in params):  # matrices of one shape are one batch
            alike = [i for i, p in enumerate(params) if p.shape == shape]
            dtype = self.dtype or (torch.bfloat16 if params[0].is_cuda else torch.float32)
            updates = orthogonalize(torch.stack([ahead[i] for i in alike]).to(dtype), iterations=spec.iterations)
            scale = rate * adjustment(spec.adjust, out=shape[-2], inputs=shape[-1])
            for i, update in zip(alike, updates, strict=True):
                params[i].sub_(update, alpha=scale)

    def _adamw(self, params: list[Tensor], gradients: list[Tensor], *, rate: float, decay: float) -> None:
        for p in params:
            self.state[p].setdefault("step", torch.zeros((), device=p.device))
        adamw(
            params,
            gradients,
            self.kept(params, "mean"),
            self.kept(params, "square"),
            [],
            [self.state[p]["step"] for p in params],
            fused=True,
            amsgrad=False,
            beta1=self.spec.beta1,
            beta2=self.spec.beta2,
            lr=rate,
            weight_decay=decay,
            eps=self.eps,
            maximize=False,
        )


def orthogonalize(x: Float[Tensor, "*batch out inputs"], *, iterations: int) -> Float[Tensor, "*batch out inputs"]:
    """Near UVᵀ of every matrix UΣVᵀ, by Newton-Schulz iterations in the type of `x`; zero stays zero."""
    a, b, c = QUINTIC
    tall = x.shape[-2] > x.shape[-1]
    y = (x.mT if tall else x).reshape(-1, min(x.shape[-2:]), max(x.shape[-2:]))  # the shorter side has the Gram matrix
    # The Frobenius norm is at least the spectral norm, which must not exceed one.
    y = y / y.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.mT.reshape(x.shape) if tall else y.reshape(x.shape)


def adjustment(adjust: Adjust, *, out: int, inputs: int) -> float:
    """What the update of an `out` × `inputs` matrix is multiplied by."""
    return max(1.0, out / inputs) ** 0.5 if adjust == "original" else 0.2 * max(out, inputs) ** 0.5
