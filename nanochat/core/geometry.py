"""What a parent tells its parts (`Geometry`) and what they cost (`Cost`)."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The dimensions that a model owns and hands to every component.

    dim: width of the residual stream · depth: number of blocks · layer: index of the block being built ·
    vocab: number of token ids · context: tokens in one training sequence · head_power: attention scores are divided
    by the width of a key to this power, ½ but for µP (see `Parametrization`).
    """

    dim: int
    depth: int
    layer: int
    vocab: int
    context: int
    head_power: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a component costs, known without building it. Costs add up.

    params: trainable parameters · active_params: those that take part in one token's forward pass ·
    flops: training FLOPs (forward and backward) per token, attention counted exactly over the pairs its mask
    allows, averaged over a full context · flops_mfu: the same by the MFU convention, attention counted over the
    whole context for every query (PaLM, 2204.02311, appendix B) · state_bytes: bytes kept per token while
    decoding, at two bytes an element. Recomputation never counts; look-ups cost nothing.
    """

    params: int = 0
    active_params: int = 0
    flops: float = 0.0
    flops_mfu: float = 0.0
    state_bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


def dense_cost(params: int, *, active_params: int | None = None, lookups: int = 0) -> Cost:
    """The cost of plain matrix weights: 6 training FLOPs per token for each active weight that multiplies.

    `lookups` of the `params` (embeddings, norms' gains) never take part in a matmul and cost no FLOPs.
    """
    active = params if active_params is None else active_params
    flops = 6.0 * (active - lookups)
    return Cost(params=params, active_params=active, flops=flops, flops_mfu=flops)


def attention_cost(*, heads: int, qk_dim: int, v_dim: int, pairs: float, context: int) -> Cost:
    """Training FLOPs per token of scores and weighted sums: 6·H·(d_qk + d_v)·κ.

    `pairs` is κ, the mean number of keys a query sees over a full context: (T+1)/2 for plain causal attention.
    """
    per_key = 6.0 * heads * (qk_dim + v_dim)
    return Cost(flops=per_key * pairs, flops_mfu=per_key * context)
