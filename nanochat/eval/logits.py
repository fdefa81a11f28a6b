"""The distribution of a model's logits over many positions: what drifts, saturates or collapses shows here first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class LogitStatistics:
    """Sums up logits, some positions at a time, in float64 where they lie; nothing is copied from the device before
    `values` is asked for."""

    def __init__(self) -> None:
        self.positions = 0
        self.vocab = 0
        self.sums: Tensor | None = None

    def add(self, logits: Float[Tensor, "positions vocab"], log_total: Float[Tensor, " positions"]) -> None:
        """Take in the logits of some positions; `log_total`: their logsumexp, which whoever scores has already."""
        # ln p = logit − log_total, so the entropy −Σ p ln p is log_total − Σ p·logit.
        entropy = log_total - ((logits - log_total[:, None]).exp() * logits).sum(-1)
        exact = logits.double().flatten()
        parts = (exact.sum(), exact.dot(exact), logits.amax(-1).double().sum(), entropy.double().sum())
        sums = torch.stack(parts)
        self.sums = sums if self.sums is None else self.sums + sums
        self.positions += len(logits)
        self.vocab = logits.shape[-1]

    def values(self) -> dict[str, float]:
        """By the names of metrics.csv: `logit_mean` and `logit_sd` of all logits (the n-form), `logit_max`: the mean
        over positions of the largest logit, `logit_entropy`: the mean over positions of the predicted distribution's
        entropy, in nats."""
        assert self.sums is not None, "nothing was added"
        total, squares, largest, entropy = self.sums.tolist()
        count = self.positions * self.vocab
        mean = total / count
        return {
            "logit_mean": mean,
            "logit_sd": max(0.0, squares / count - mean**2) ** 0.5,
            "logit_max": largest / self.positions,
            "logit_entropy": entropy / self.positions,
        }


def naive_logit_statistics(logits: Float[Tensor, "positions vocab"]) -> dict[str, float]:
    """The definition of `LogitStatistics`, with all logits at hand."""
    exact = logits.double()
    return {
        "logit_mean": exact.mean().item(),
        "logit_sd": exact.std(correction=0).item(),
        "logit_max": exact.amax(-1).mean().item(),
        "logit_entropy": torch.distributions.Categorical(logits=exact).entropy().mean().item(),
    }
