"""Gated DeltaNet (Yang et al., 2412.06464), in the form of Qwen3-Next's linear attention layers.

Instead of every key and value it keeps one matrix per head, into which the gated delta rule (`delta_rule.py`) writes:
time grows linearly with the sequence, and what decoding keeps does not grow at all. It knows order by itself.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.delta_rule import chunked, recurrent
from nanochat.attention.heads import divisors, resolve_heads
from nanochat.attention.keyvalue import merge_heads, split_heads
from nanochat.attention.short_convolution import ShortConvolution
from nanochat.core.errors import alternatives, spec_error
from nanochat.core.geometry import Cost, Geometry, dense_cost
from nanochat.core.spec import Count
from nanochat.position.base import Hook, Position

EPS = 1e-6
"""Of the norms on queries, keys and outputs: Qwen3-Next's value."""
DECAY_RATE = 16.0
TIME_STEP = (1e-3, 1e-1)


class Sizes(NamedTuple):
    """Widths of a resolved Spec."""

    heads: int
    qk_heads: int
    qk_dim: int
    v_dim: int


class LinearSpec(AttentionSpec):
    """heads: memories, each with its values and gates, null as in `resolve_heads` · qk_heads: heads of queries and
    keys, a divisor of heads, each shared by heads / qk_heads memories; null is heads · qk_head_dim, v_head_dim:
    channels of a key and of a value, null is dim // heads · conv: width of the convolution on queries, keys and
    values, 1 leaving tokens unmixed · chunk: tokens that the chunked kernel takes at once; changes rounding and speed
    alone · kernel: chunked (matmuls) or recurrent (token by token, the reference).
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed"})
    ignores: ClassVar[frozenset[Hook]] = frozenset({"rotate", "bias"})

    heads: Count | None
    qk_heads: Count | None
    qk_head_dim: Count | None
    v_head_dim: Count | None
    conv: Count
    chunk: Count
    kernel: Literal["chunked", "recurrent"]

    def resolve(self, geometry: Geometry) -> Self:
        split = self.qk_head_dim is None or self.v_head_dim is None
        heads = resolve_heads(self.heads, dim=geometry.dim, split=split)
        qk_heads = self.qk_heads or heads
        if heads % qk_heads:
            raise spec_error("qk_heads", qk_heads, f"must divide heads={heads}", f"try {alternatives(divisors(heads))}")
        return self.replace(
            heads=heads,
            qk_heads=qk_heads,
            qk_head_dim=self.qk_head_dim or geometry.dim // heads,
            v_head_dim=self.v_head_dim or geometry.dim // heads,
        )

    def value_width(self, geometry: Geometry) -> int:
        return self.sizes.heads * self.sizes.v_dim

    def cost(self, geometry: Geometry) -> Cost:
        """With K = qk_heads·qk_head_dim, V = heads·v_head_dim. Parameters: projections dim·(2K + 3V + 2·heads),
        convolution conv·(2K + V), gates and norm 2·heads + v_head_dim. FLOPs: 6 a token for each weight of
        projections and convolution, and 6·3·heads·qk_head_dim·v_head_dim for the memory, counted as the recurrence
        does it (read for the key, write, read for the query), whatever the context: flops_mfu is the same. The
        chunked kernel does more arithmetic in less time; that is no part of the model. State: the memories and conv − 1
        inputs of the convolution, constant in all, divided by the context to be bytes per token.
        """
        heads, qk_heads, qk_dim, v_dim = self.sizes
        channels = 2 * qk_heads * qk_dim + heads * v_dim
        projections = geometry.dim * (channels + 2 * heads * v_dim + 2 * heads)
        vectors = 2 * heads + v_dim
        weights = dense_cost(projections + channels * self.conv + vectors, lookups=vectors)
        memory = heads * qk_dim * v_dim
        state = memory + (self.conv - 1) * channels
        rule = Cost(flops=18.0 * memory, flops_mfu=18.0 * memory, state_bytes=2 * state / geometry.context)
        return weights + rule

    def build(self, geometry: Geometry, *, position: Position) -> Linear:
        return Linear(self, geometry=geometry)

    @property
    def sizes(self) -> Sizes:
        """The widths of the resolved Spec."""
        assert self.heads and self.qk_heads and self.qk_head_dim and self.v_head_dim, "unresolved"
        return Sizes(self.heads, self.qk_heads, self.qk_head_dim, self.v_head_dim)


class Memory(NamedTuple):
    """What decoding keeps: every head's matrix, in fp32, and the convolution's last inputs, for `length` tokens."""

    matrix: Float[Tensor, "batch heads qk_dim v_dim"]
    inputs: Float[Tensor, "batch past channels"]
    length: int


class Linear(Attention[Memory]):
    """Projections bear the names of the authors' code: `a_proj` makes the decay, `b_proj` beta, `g_proj` the gate of
    the outputs. The decay's logarithm is −exp(A_log)·softplus(a + dt_bias).
    """

    def __init__(self, spec: LinearSpec, *, geometry: Geometry) -> None:
        super().__init__()
        dim = geometry.dim
        self.sizes = sizes = spec.sizes
        self.kernel = spec.kernel
        self.chunk = spec.chunk
        # Not by geometry.head_power: of unit vectors, whose products do not grow with their width, under µP neither.
        self.scale = sizes.qk_dim**-0.5
        qk_width, v_width = sizes.qk_heads * sizes.qk_dim, sizes.heads * sizes.v_dim
        self.widths = [qk_width, qk_width, v_width]
        self.q_proj = nn.Linear(dim, qk_width, bias=False)
        self.k_proj = nn.Linear(dim, qk_width, bias=False)
        self.v_proj = nn.Linear(dim, v_width, bias=False)
        self.a_proj = nn.Linear(dim, sizes.heads, bias=False)
        self.b_proj = nn.Linear(dim, sizes.heads, bias=False)
        self.g_proj = nn.Linear(dim, v_width, bias=False)
        self.conv = ShortConvolution(sum(self.widths), width=spec.conv, naive=spec.kernel == "recurrent")
        rate, step = initial_decay(sizes.heads)
        self.A_log = nn.Parameter(rate.log())
        self.dt_bias = nn.Parameter(step.expm1().log())
        self.o_norm = GatedRMSNorm(sizes.v_dim)
        self.o_proj = nn.Linear(v_width, dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: Memory | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Memory]:
        assert state is None or docs is None, "documents are packed in training, decoding has one"
        q, k, v, gate = self.q_proj(x), self.k_proj(x), self.v_proj(x), self.g_proj(x)
        v = v if values is None else v + values.to(v.dtype)
        mixed, inputs = self.conv(torch.cat([q, k, v], dim=-1), last=None if state is None else state.inputs, docs=docs)
        decay, beta = self.a_proj(x), self.b_proj(x)
        # Sums over the whole past: in full precision, also where autocast would have matmuls in half.
        with torch.autocast(x.device.type, enabled=False):
            y, matrix = self.remember(
                *F.silu(mixed.float()).split(self.widths, dim=-1),
                decay=decay.float(),
                beta=beta.float(),
                matrix=None if state is None else state.matrix,
                docs=docs,
            )
            y = self.o_norm(y, gate=split_heads(gate.float(), self.sizes.v_dim))
        length = x.shape[1] + (state.length if state else 0)
        return self.o_proj(merge_heads(y).to(gate.dtype)), Memory(matrix, inputs, length)

    def remember(
        self,
        q: Float[Tensor, "batch time qk_width"],
        k: Float[Tensor, "batch time qk_width"],
        v: Float[Tensor, "batch time v_width"],
        *,
        decay: Float[Tensor, "batch time heads"],
        beta: Float[Tensor, "batch time heads"],
        matrix: Float[Tensor, "batch heads qk_dim v_dim"] | None,
        docs: Int[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch heads time v_dim"], Float[Tensor, "batch heads qk_dim v_dim"]]:
        """The delta rule on normed queries and keys, `decay` and `beta` being what the projections say of them."""
        heads, qk_heads, qk_dim, v_dim = self.sizes
        q, k = (unit(split_heads(part, qk_dim)).repeat_interleave(heads // qk_heads, dim=1) for part in (q, k))
        decay = -self.A_log.exp() * F.softplus(decay + self.dt_bias)
        decay, beta = (rearrange(part, "batch time heads -> batch heads time") for part in (decay, beta.sigmoid()))
        if matrix is None:
            matrix = v.new_zeros(v.shape[0], heads, qk_dim, v_dim)
        rest = {"decay": decay, "beta": beta, "memory": matrix, "docs": docs}
        q, v = q * self.scale, split_heads(v, v_dim)
        # For one token, in decoding, the definition is the fastest form too.
        if self.kernel == "recurrent" or v.shape[2] == 1:
            return recurrent(q, k, v, **rest)
        return chunked(q, k, v, chunk=self.chunk, **rest)


class GatedRMSNorm(nn.Module):
    """RMSNorm of every head's outputs, then multiplied by silu(gate)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(
        self, x: Float[Tensor, "batch heads time dim"], *, gate: Float[Tensor, "batch heads time dim"]
    ) -> Float[Tensor, "batch heads time dim"]:
        return F.rms_norm(x, self.weight.shape, self.weight, EPS) * F.silu(gate)


def unit(x: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
    """Vectors of length one; zero stays zero."""
    return x * (x.square().sum(-1, keepdim=True) + EPS).rsqrt()


def initial_decay(heads: int) -> tuple[Float[Tensor, " heads"], Float[Tensor, " heads"]]:
    """exp(A_log) and softplus(dt_bias) at the start, from heads that forget slowly to heads that forget fast.

    The authors draw the rates evenly from 0 to 16 and the time steps evenly in their logarithm from 0.001 to 0.1.
    Ours are the middles of equal shares of these ranges, in order, so that few heads too reach from short to long.
    """
    share = (torch.arange(heads) + 0.5) / heads
    low, high = TIME_STEP
    return DECAY_RATE * share, low * (high / low) ** share
