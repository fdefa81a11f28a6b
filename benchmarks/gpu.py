"""The same comparisons on a GPU: bf16, torch.compile, larger shapes, and how much of the chip our steps use (MFU)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.pairs import compare, seconds
from nanochat.core.errors import MachineError
from nanochat.model.transformer import Transformer

SHAPE = {"dim": 1024, "depth": 12, "vocab": 32768, "context": 2048}
BATCH = 8
HIDDEN = 2736
EXPERTS, TOP_K, EXPERT_HIDDEN = 8, 2, 1368

# Dense bf16 FLOPs per second of a chip, by its name (the makers' data sheets); MFU is not given for others.
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}


def measure() -> dict[str, Any]:
    """Every figure, on the first CUDA device."""
    if not torch.cuda.is_available():
        raise MachineError("benchmarks.gpu needs a CUDA device, and torch finds none")
    torch.backends.cuda.matmul.allow_tf32 = True
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name, work in (
        ("dense_step_vs_llama", dense_step),
        ("mla_step_vs_deepseek_v3", mla_step),
        ("moe_step_vs_mixtral", moe_step),
        ("kernels_at_8192_window_1024", kernels),
        ("linear_attention_seconds_by_length", linear_growth),
    ):
        try:
            figures[name] = work()
        except (RuntimeError, MachineError, ImportError) as error:  # one that fails must not hide the others
            figures[name] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        torch.cuda.empty_cache()
    return figures


def batch() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(SHAPE["vocab"], (BATCH, SHAPE["context"] + 1), generator=generator).cuda()


def own(*overrides: str, context: int = SHAPE["context"]) -> Transformer:
    size = (f"model.dim={SHAPE['dim']}", f"model.depth={SHAPE['depth']}")
    return peers.ours(*size, *overrides, vocab=SHAPE["vocab"], context=context).cuda()


def against(mine: Transformer, peer: torch.nn.Module, *, flops: float) -> dict[str, Any]:
    """Both compiled; the ratio, and the share of the chip's peak that our step reaches by the MFU convention."""
    tokens, peer = batch(), peer.cuda()
    mine.compile()
    peer.compile()
    step = peers.training_step(mine, tokens, bf16=True)
    found = compare(step, peers.training_step(peer, tokens, bf16=True), asked=None, warmup=5)
    peak = next((value for name, value in PEAK.items() if name in torch.cuda.get_device_name()), None)
    rate = flops * BATCH * SHAPE["context"] / found["ours_s"]
    return {
        **found,
        "tokens_per_s": round(BATCH * SHAPE["context"] / found["ours_s"]),
        "mfu": peak and round(rate / peak, 3),
    }


def flops(*overrides: str) -> float:
    """Training FLOPs per token by the MFU convention."""
    size = (f"model.dim={SHAPE['dim']}", f"model.depth={SHAPE['depth']}")
    architecture = peers.architecture(*size, *overrides, vocab=SHAPE["vocab"], context=SHAPE["context"])
    return architecture.cost(vocab=SHAPE["vocab"], context=SHAPE["context"]).flops_mfu


def dense_step() -> dict[str, Any]:
    words = ("attention=gqa", "attention.heads=16", "attention.kv_heads=8", "ffn=swiglu", f"ffn.hidden={HIDDEN}")
    peer = peers.llama(heads=16, kv_heads=8, hidden=HIDDEN, **SHAPE)
    return against(own(*words), peer, flops=flops(*words))


def mla_step() -> dict[str, Any]:
    words = (
        "attention=mla",
        "attention.heads=16",
        "attention.kv_lora_rank=256",
        "attention.qk_nope_head_dim=64",
        "attention.qk_rope_head_dim=32",
        "attention.v_head_dim=64",
        "position.interleaved=true",
        "ffn=swiglu",
        f"ffn.hidden={HIDDEN}",
    )
    peer = peers.deepseek(heads=16, hidden=HIDDEN, rank=256, nope=64, rope=32, value=64, **SHAPE)
    return against(own(*words), peer, flops=flops(*words))


def moe_step() -> dict[str, Any]:
    words = ("attention=gqa", "attention.heads=16", "attention.kv_heads=8", "ffn=moe", f"ffn.experts={EXPERTS}")
    words = (*words, f"ffn.top_k={TOP_K}", f"ffn.expert.hidden={EXPERT_HIDDEN}")
    peer = peers.mixtral(heads=16, kv_heads=8, hidden=EXPERT_HIDDEN, experts=EXPERTS, top_k=TOP_K, **SHAPE)
    return against(own(*words), peer, flops=flops(*words))


def attention_step(*overrides: str, context: int) -> Callable[[], Any]:
    """Forward and backward of one block's attention in bf16."""
    attention = own(*overrides, context=context).blocks[0].get_submodule("attention")
    x = torch.randn(1, context, SHAPE["dim"], device="cuda", requires_grad=True)

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y, _ = attention(x)
        y.backward(torch.ones_like(y))

    return step


def kernels() -> dict[str, Any]:
    """Each kernel with a window, against plain causal attention through sdpa."""
    full = attention_step("attention=gqa", "attention.heads=16", context=8192)
    found: dict[str, Any] = {}
    for kernel in ("sdpa", "chunked", "flex", "flash"):
        words = ("attention=local", "attention.heads=16", "attention.window=1024", f"attention.kernel={kernel}")
        try:
            found[kernel] = compare(attention_step(*words, context=8192), full, asked=None, warmup=5)
        except (RuntimeError, MachineError, ImportError, ValueError) as error:
            found[kernel] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
    return found


def linear_growth() -> dict[str, Any]:
    found = {}
    for length in (1024, 2048, 4096, 8192):
        work = attention_step("attention=linear", context=length)
        for _ in range(3):
            work()
        found[str(length)] = round(sorted(seconds(work) for _ in range(5))[2], 5)
    return found
