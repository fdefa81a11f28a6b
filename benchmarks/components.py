"""Attentions and FFNs against their peers in `transformers` and against each other, on the CPU in fp32.

Same shapes, same data, same kernel for attention, same optimizer; the two sides of a ratio take turns in one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.pairs import compare, seconds
from nanochat.model.transformer import Transformer

THREADS = 2
SHAPE = {"dim": 256, "depth": 4, "vocab": 1024, "context": 512}
BATCH = 4
HIDDEN = 688
EXPERTS, TOP_K, EXPERT_HIDDEN = 8, 2, 344


def measure() -> dict[str, Any]:
    """Every figure: how many times as fast as its peer, beside what is asked."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    return {
        "dense_step_vs_llama": dense_step(),
        "mla_step_vs_deepseek_v3": mla_step(),
        "moe_step_vs_mixtral": moe_step(),
        "moe_step_vs_own_dense": moe_vs_dense(),
        "local_vs_full_causal_4096_256": local_attention(),
        "mla_decoding_absorbed_vs_expanded_2048": absorbed_decoding(),
        "linear_attention_seconds_by_length": linear_growth(),
    }


def tokens(*, batch: int = BATCH, context: int = SHAPE["context"]) -> Tensor:
    return torch.randint(SHAPE["vocab"], (batch, context + 1), generator=torch.Generator().manual_seed(0))


def small(*overrides: str, context: int = SHAPE["context"]) -> Transformer:
    """Our model in the common shape."""
    size = (f"model.dim={SHAPE['dim']}", f"model.depth={SHAPE['depth']}")
    return peers.ours(*size, *overrides, vocab=SHAPE["vocab"], context=context)


def dense_step() -> dict[str, Any]:
    own = small("attention=gqa", "attention.heads=8", "attention.kv_heads=4", "ffn=swiglu", f"ffn.hidden={HIDDEN}")
    peer = peers.llama(heads=8, kv_heads=4, hidden=HIDDEN, **SHAPE)
    same_size(own, peer)
    return compare(peers.training_step(own, tokens()), peers.training_step(peer, tokens()), asked=1.1)


def mla_step() -> dict[str, Any]:
    widths = {"rank": 64, "nope": 32, "rope": 16, "value": 32}
    own = small(
        "attention=mla",
        "attention.heads=8",
        "attention.kv_lora_rank=64",
        "attention.qk_nope_head_dim=32",
        "attention.qk_rope_head_dim=16",
        "attention.v_head_dim=32",
        "position.interleaved=true",
        "ffn=swiglu",
        f"ffn.hidden={HIDDEN}",
    )
    peer = peers.deepseek(heads=8, hidden=HIDDEN, **widths, **SHAPE)
    same_size(own, peer)
    return compare(peers.training_step(own, tokens()), peers.training_step(peer, tokens()), asked=1.3)


def moe(*overrides: str) -> Transformer:
    shape = (f"ffn.experts={EXPERTS}", f"ffn.top_k={TOP_K}", f"ffn.expert.hidden={EXPERT_HIDDEN}")
    return small("attention=gqa", "attention.heads=8", "attention.kv_heads=4", "ffn=moe", *shape, *overrides)


def moe_step() -> dict[str, Any]:
    own = moe()
    peer = peers.mixtral(heads=8, kv_heads=4, hidden=EXPERT_HIDDEN, experts=EXPERTS, top_k=TOP_K, **SHAPE)
    same_size(own, peer)
    return compare(peers.training_step(own, tokens()), peers.training_step(peer, tokens()), asked=1.2)


def moe_vs_dense() -> dict[str, Any]:
    """Against our dense model whose FFN has the hidden width of the experts that a token goes to, together."""
    dense = small(
        "attention=gqa",
        "attention.heads=8",
        "attention.kv_heads=4",
        "ffn=swiglu",
        f"ffn.hidden={TOP_K * EXPERT_HIDDEN}",
    )
    return compare(peers.training_step(moe(), tokens()), peers.training_step(dense, tokens()), asked=0.9)


def local_attention() -> dict[str, Any]:
    """The attention alone, forward and backward, at 4096 tokens with a window of 256."""
    own = attention_step("attention=local", "attention.window=256", "attention.heads=8", context=4096)
    full = attention_step("attention=gqa", "attention.heads=8", context=4096)
    return compare(own, full, asked=1.8, repeats=5, warmup=1)


def attention_step(*overrides: str, context: int) -> Callable[[], Any]:
    """Forward and backward of one block's attention over one sequence of `context` tokens."""
    attention = small(*overrides, context=context).blocks[0].get_submodule("attention")
    x = torch.randn(1, context, SHAPE["dim"], generator=torch.Generator().manual_seed(1), requires_grad=True)

    def step() -> None:
        y, _ = attention(x)
        y.backward(y.detach())

    return step


def absorbed_decoding() -> dict[str, Any]:
    """One more token after 2047: the absorbed form against the expanded one, which makes all keys and values anew."""
    model = small("attention=mla", "attention.heads=8", "attention.kv_lora_rank=64", context=2048)
    expanded = small(
        "attention=mla", "attention.heads=8", "attention.kv_lora_rank=64", "attention.kernel=naive", context=2048
    )
    prompt, last = tokens(batch=1, context=2047).split([2047, 1], dim=1)
    works = []
    for which in (model, expanded):
        with torch.no_grad():
            state = which(prompt).state

        def decode(which: Transformer = which, state: Any = state) -> None:
            with torch.no_grad():
                which(last, state=state)

        works.append(decode)
    return compare(works[0], works[1], asked=2.0, repeats=15)


def linear_growth() -> dict[str, Any]:
    """Seconds of forward and backward of one linear attention, by length; linear growth is a last ratio of 8."""
    lengths = (1024, 2048, 4096, 8192)
    linear = {n: attention_step("attention=linear", context=n) for n in lengths}
    full = {n: attention_step("attention=mha", "attention.heads=8", context=n) for n in lengths}
    found: dict[str, dict[int, float]] = {"linear_s": {}, "full_s": {}}
    for name, works in (("linear_s", linear), ("full_s", full)):
        for n, work in works.items():
            work()
            work()
            found[name][n] = round(sorted(seconds(work) for _ in range(5))[2], 4)
    return {
        **{name: {str(n): value for n, value in times.items()} for name, times in found.items()},
        "linear_growth_8x_longer": round(found["linear_s"][8192] / found["linear_s"][1024], 2),
        "full_growth_8x_longer": round(found["full_s"][8192] / found["full_s"][1024], 2),
    }


def same_size(own: torch.nn.Module, peer: torch.nn.Module) -> None:
    """Refuse to compare models that are not the same size."""
    sizes = [sum(p.numel() for p in model.parameters()) for model in (own, peer)]
    assert sizes[0] == sizes[1], sizes
