"""Grouped-query attention (Ainslie et al., 2305.13245): several query heads share one key and value head.

kv_heads = heads is multi-head attention (`attention=mha`), kv_heads = 1 multi-query attention (`attention=mqa`,
Shazeer, 1911.02150); a window makes it local (`attention=local`).
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from jaxtyping import Float, Int
from torch import Tensor, nn, zeros

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.attention.heads import resolve_heads, resolve_kv_heads
from nanochat.attention.kernels import KERNELS, KernelName, check_device, check_kernel, unable
from nanochat.attention.keyvalue import KeyValue, merge_heads, split_heads
from nanochat.attention.qk_norm import QKNorm, build_norm, gain_width, normed, plain, resolve_eps
from nanochat.attention.softmax import Scores
from nanochat.attention.window import Recent, behind, kept, pairs, remember, resolve_window
from nanochat.core.errors import Problem
from nanochat.core.geometry import Cost, Geometry, attention_cost, dense_cost
from nanochat.core.spec import Count, Positive, option_of
from nanochat.position.base import Hook, Position, PositionSpec


class GQASpec(AttentionSpec):
    """heads: query heads, null as in `resolve_heads` · kv_heads: key and value heads, a divisor of heads; null is
    its largest proper divisor, the word `heads` one for every query head · head_dim: channels of a head, null is
    dim // heads · qk_norm: as in `qk_norm.py` · qk_norm_eps: added to its mean squares, null is 1e-6 where there is a
    norm · soft_cap: bound c of the scores, null is none · sinks: whether each head has a learned logit that takes
    weight from the values · window: keys that a query sees, itself included, `auto` a quarter of the context, null all
    before it · kernel: sdpa (torch's fused attention), chunked (the same by pairs of window-wide chunks), flex
    (compiled, CUDA), flash (the package flash-attn, CUDA) or naive (plain matmuls, the reference).
    """

    hooks: ClassVar[frozenset[Hook]] = frozenset({"embed", "rotate", "bias"})
    rotated: ClassVar[str | None] = "head_dim"

    heads: Count | None
    kv_heads: Count | Literal["heads"] | None
    head_dim: Count | None
    qk_norm: QKNorm
    qk_norm_eps: Positive | None
    soft_cap: Positive | None
    sinks: bool
    window: Count | Literal["auto"] | None
    kernel: KernelName

    def resolve(self, geometry: Geometry) -> Self:
        heads = resolve_heads(self.heads, dim=geometry.dim, split=self.head_dim is None)
        kv_heads = resolve_kv_heads(self.kv_heads, heads=heads)
        head_dim = self.head_dim or geometry.dim // heads
        window = resolve_window(self.window, context=geometry.context)
        check_kernel(self.kernel, head_dim=head_dim, window=window, soft_cap=self.soft_cap, sinks=self.sinks)
        eps = resolve_eps(self.qk_norm, self.qk_norm_eps)
        return self.replace(heads=heads, kv_heads=kv_heads, head_dim=head_dim, window=window, qk_norm_eps=eps)

    def misfits(self, position: PositionSpec) -> list[Problem]:
        found = super().misfits(position)
        if position.hook == "bias":
            found += unable(self.kernel, "bias", used=f"position={option_of(position)}, which adds to the scores")
        return found

    def check_device(self, device: str) -> None:
        check_device(self.kernel, device, capped=self.soft_cap is not None)

    def value_width(self, geometry: Geometry) -> int:
        _, kv_heads, head_dim = self.sizes
        return kv_heads * head_dim

    def cost(self, geometry: Geometry) -> Cost:
        """2·dim·(H + H_kv)·d weights at 6 training FLOPs each, 12·H·d·κ for the scores and sums, κ being the mean
        number of keys seen, (T+1)/2 or [w(w+1)/2 + (T−w)w]/T within a window; 2·H_kv·d numbers per token kept while
        decoding, of at most w−1 tokens. Gains of norms and sinks are parameters without FLOPs.
        """
        heads, kv_heads, head_dim = self.sizes
        context, window = geometry.context, self.width
        gains = sum(gain_width(self.qk_norm, heads=n, head_dim=head_dim) for n in (heads, kv_heads))
        lookups = gains + (heads if self.sinks else 0)
        weights = dense_cost(2 * geometry.dim * (heads + kv_heads) * head_dim + lookups, lookups=lookups)
        seen = pairs(context=context, window=window)
        scores = attention_cost(heads=heads, qk_dim=head_dim, v_dim=head_dim, pairs=seen, context=context)
        state = 2 * 2 * kv_heads * head_dim * kept(context=context, window=window) / context
        return weights + scores + Cost(state_bytes=state)

    def build(self, geometry: Geometry, *, position: Position) -> GQA:
        return GQA(self, geometry=geometry, position=position)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(heads, kv_heads, head_dim) of the resolved Spec."""
        assert self.heads and isinstance(self.kv_heads, int) and self.head_dim, "unresolved"
        return self.heads, self.kv_heads, self.head_dim

    @property
    def width(self) -> int | None:
        """The window of the resolved Spec, in tokens."""
        assert self.window != "auto", "unresolved"
        return self.window


class GQA(Attention[KeyValue | Recent]):
    """Query head h reads key and value head h // (heads / kv_heads)."""

    def __init__(self, spec: GQASpec, *, geometry: Geometry, position: Position) -> None:
        super().__init__()
        dim = geometry.dim
        self.heads, self.kv_heads, self.head_dim = spec.sizes
        self.window = spec.width
        self.kernel = spec.kernel
        self.scale = self.head_dim**-geometry.head_power
        self.soft_cap = spec.soft_cap
        self.position = position
        self.q_proj = nn.Linear(dim, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(dim, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(dim, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, dim, bias=False)
        self.qk_norm, self.eps = spec.qk_norm, spec.qk_norm_eps or 0.0
        self.q_norm = build_norm(spec.qk_norm, heads=self.heads, head_dim=self.head_dim, eps=self.eps)
        self.k_norm = build_norm(spec.qk_norm, heads=self.kv_heads, head_dim=self.head_dim, eps=self.eps)
        self.sinks = nn.Parameter(zeros(self.heads)) if spec.sinks else None

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        *,
        state: KeyValue | Recent | None = None,
        docs: Int[Tensor, "batch time"] | None = None,
        values: Float[Tensor, "batch time value_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], KeyValue | Recent]:
        assert state is None or docs is None, "documents are packed in training, decoding has one"
        offset = state.length if state else 0
        k, v = self.keys_and_values(x)
        if values is not None:
            v = v + values.to(v.dtype)
        q, k = normed(self.q_proj(x), self.q_norm), normed(k, self.k_norm)
        q, k, v = (split_heads(part, self.head_dim) for part in (q, k, v))
        q, k = self.position.rotate(q, k, offset=offset)
        if self.qk_norm == "plain":
            q, k = plain(q, eps=self.eps), plain(k, eps=self.eps)
        # Under autocast what norms return may have another type than what matmuls do: kernels want one.
        k, v = behind(state, k.to(v.dtype), v)
        scores = Scores(
            scale=self.scale, soft_cap=self.soft_cap, window=self.window, sinks=self.sinks, position=self.position
        )
        y = KERNELS[self.kernel](q.to(v.dtype), k, v, scores=scores, docs=docs)
        state = remember(k, v, length=offset + x.shape[1], window=self.window)
        return self.o_proj(merge_heads(y)), state

    def keys_and_values(
        self, x: Float[Tensor, "batch time dim"]
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch time channels"]]:
        """All key heads and all value heads of each token, side by side, as they are projected."""
        return self.k_proj(x), self.v_proj(x)
