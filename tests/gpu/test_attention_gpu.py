"""Every kernel of softmax attention on CUDA against the definition: outputs and gradients, fp32 and bf16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nanochat.attention.flash import installed
from nanochat.attention.kernels import KERNELS
from nanochat.attention.softmax import Scores, naive
from nanochat.position.base import Position

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

HEADS, HEAD_DIM, TIME = 8, 64, 300  # no multiple of any block
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
FEATURES: dict[str, dict[str, Any]] = {
    "causal": {},
    "window": {"window": 40},
    "soft cap": {"soft_cap": 2.0},
    "sinks": {"sinks": True},
    "bias": {"bias": True},
    "window, sinks and bias": {"window": 64, "sinks": True, "bias": True},
    "everything": {"window": 64, "sinks": True, "bias": True, "soft_cap": 2.0},
}
CAN = {
    "sdpa": {"window", "sinks", "bias"},
    "chunked": {"window", "sinks", "bias"},
    "flex": {"window", "sinks", "bias", "soft_cap"},
    "flash": {"window", "soft_cap"},
}


def cases() -> list[Any]:
    found = []
    for kernel, able in CAN.items():
        for name, features in FEATURES.items():
            if set(features) <= able and (kernel != "chunked" or "window" in features):
                for dtype in (torch.bfloat16,) if kernel == "flash" else (torch.float32, torch.bfloat16):
                    marks = pytest.mark.skipif(kernel == "flash" and not installed(), reason="needs flash-attn")
                    label = f"{kernel}-{name}-{str(dtype).removeprefix('torch.')}"
                    found.append(pytest.param(kernel, features, dtype, id=label, marks=marks))
    return found


class Slopes(Position):
    """A bias that falls with the distance, steeper from head to head."""

    def bias(
        self, q_len: int, k_len: int, *, heads: int, device: torch.device
    ) -> Float[Tensor, "heads query key"] | None:
        query = torch.arange(k_len - q_len, k_len, device=device)[:, None]
        distance = (query - torch.arange(k_len, device=device)).abs()
        return -0.02 * torch.arange(1, heads + 1, device=device)[:, None, None] * distance


@pytest.fixture(autouse=True)
def full_precision_and_fresh_kernels():
    """No TF32 on either side; what is compiled is compiled for each test anew."""
    torch.compiler.reset()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).cuda()


def answers(kernel: str, features: dict[str, Any], *, dtype: torch.dtype, docs: Tensor | None) -> list[Tensor | None]:
    """The output and the gradients of queries, keys, values and sinks."""
    shapes = ((2, HEADS, TIME, HEAD_DIM), (2, 2, TIME, HEAD_DIM), (2, 2, TIME, HEAD_DIM))
    # Rounded first, so that both sides see the same numbers whatever they compute in.
    tensors = [randn(*shape, seed=i).to(torch.bfloat16).to(dtype).requires_grad_() for i, shape in enumerate(shapes)]
    sinks = nn.Parameter(randn(HEADS, seed=5)) if features.get("sinks") else None
    scores = Scores(
        scale=HEAD_DIM**-0.5,
        soft_cap=features.get("soft_cap"),
        window=features.get("window"),
        sinks=sinks,
        position=Slopes() if features.get("bias") else Position(),
    )
    y = KERNELS[kernel](*tensors, scores=scores, docs=docs)
    (y.float() * randn(*y.shape, seed=6)).sum().backward()
    return [y, *(x.grad for x in tensors), *([] if sinks is None else [sinks.grad])]


def documents() -> Tensor:
    return torch.tensor([[0] * 100 + [1] * 200, [4] * 17 + [5] * 250 + [6] * 33]).cuda()


@pytest.mark.parametrize(("kernel", "features", "dtype"), cases())
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "packed"])
def test_a_kernel_equals_the_definition(kernel: str, features: dict[str, Any], dtype: torch.dtype, packed: bool):
    docs = documents() if packed else None
    found = answers(kernel, features, dtype=dtype, docs=docs)
    expected = answers("naive", features, dtype=torch.float32, docs=docs)
    for ours, reference in zip(found, expected, strict=True):
        assert ours is not None and reference is not None
        # Half precision rounds relative to the largest numbers of a sum.
        bound = TOLERANCE[dtype] * reference.abs().max().item()
        torch.testing.assert_close(ours.float(), reference, rtol=TOLERANCE[dtype], atol=bound)


@pytest.mark.parametrize("kernel", list(CAN))
@pytest.mark.parametrize("q_len", [1, 7, 90])
def test_the_last_queries_alone_equal_the_definition(kernel: str, q_len: int):
    """As in decoding, after what a window keeps."""
    if kernel == "flash" and not installed():
        pytest.skip("needs flash-attn")
    dtype = torch.bfloat16 if kernel == "flash" else torch.float32
    window, k_len = 40, 39 + q_len
    q = randn(2, HEADS, q_len, HEAD_DIM, seed=0).to(dtype)
    k, v = (randn(2, 2, k_len, HEAD_DIM, seed=seed).to(dtype) for seed in (1, 2))
    scores = Scores(scale=HEAD_DIM**-0.5, soft_cap=None, window=window, sinks=None, position=Position())
    with torch.no_grad():
        y = KERNELS[kernel](q, k, v, scores=scores, docs=None)
        expected = naive(q.float(), k.float(), v.float(), scores=scores, docs=None)
    torch.testing.assert_close(y.float(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
