"""How evenly tokens spread over experts: the losses that ask for it and the figures that show it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

SHOWN = 32
"""Up to so many experts a block reports the share of each: a column of the metrics for every one of them."""


def tokens_per_expert(chosen: Int[Tensor, "batch time top_k"], *, experts: int) -> Int[Tensor, "batch experts"]:
    """How many of each sequence's (token, choice) pairs go to each expert."""
    flat = chosen.flatten(1)
    counts = torch.zeros(len(flat), experts, dtype=torch.int64, device=chosen.device)
    return counts.scatter_add_(1, flat, torch.ones_like(flat))


def load_per_sequence(chosen: Int[Tensor, "batch time top_k"], *, experts: int) -> Float[Tensor, "batch experts"]:
    """Each expert's share of a sequence's (token, choice) pairs; it has no gradient."""
    return tokens_per_expert(chosen, experts=experts) / float(chosen[0].numel())


def balance_loss(
    load: Float[Tensor, "batch experts"], probability: Float[Tensor, "batch experts"]
) -> Float[Tensor, " batch"]:
    """E·Σ f_i·P_i, f the shares of tokens and P the mean probabilities: 1 when either is even.

    The loss of Switch (2101.03961, eq. 4), over one sequence; also DeepSeek-V3's (2412.19437, eqs. 17-20), whose f_i
    is our share times the number of experts.
    """
    return load.shape[-1] * (load * probability).sum(dim=-1)


def z_loss(logits: Float[Tensor, "batch time experts"]) -> Float[Tensor, " batch"]:
    """The mean squared logsumexp of the router's logits (ST-MoE, 2202.08906, eq. 5)."""
    return logits.logsumexp(dim=-1).square().mean(dim=1)


def evenness(shares: Float[Tensor, "*rows experts"]) -> Float[Tensor, "*rows"]:
    """The entropy of shares over that of equal ones: 1 where all are equal, 0 where one has all; 1 for one expert."""
    experts = shares.shape[-1]
    if experts == 1:
        return shares.new_ones(shares.shape[:-1])
    return torch.special.entr(shares).sum(dim=-1) / torch.tensor(float(experts), device=shares.device).log()


def load_metrics(counts: Int[Tensor, " experts"]) -> dict[str, Tensor]:
    """How a batch's tokens spread over the experts of one block.

    load_entropy: of the experts' shares, over that of equal shares · max_violation: the largest load over the mean,
    minus one (2408.15664, eq. 4) · dead_experts: the share of experts that had no token · expert_share: each
    expert's share of the tokens' choices, where there are at most `SHOWN` experts.
    """
    shares = counts / counts.sum().clamp(min=1).float()
    metrics = {
        "load_entropy": evenness(shares),
        "max_violation": shares.max() * len(shares) - 1,
        "dead_experts": (counts == 0).float().mean(),
    }
    return metrics | ({"expert_share": shares} if len(shares) <= SHOWN else {})
