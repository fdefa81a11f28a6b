"""The gated delta rule and the attention around it: what the memory holds, chunks, documents, decoding, cost."""

from __future__ import annotations

from typing import Any

import options
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from test_model_parts import build, random_tokens
from torch import Tensor

from nanochat.attention.delta_rule import chunked, recurrent
from nanochat.attention.linear import Linear, initial_decay, unit
from nanochat.attention.short_convolution import ShortConvolution


def inputs(
    *, batch: int = 2, heads: int = 2, time: int, qk_dim: int = 5, v_dim: int = 3, forget: float = 0.1
) -> dict[str, Tensor]:
    """Random arguments of the rule, a memory from before included; `forget` is the mean of −g."""
    generator = torch.Generator().manual_seed(time)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "q": unit(normal(batch, heads, time, qk_dim)),
        "k": unit(normal(batch, heads, time, qk_dim)),
        "v": normal(batch, heads, time, v_dim),
        "decay": -2 * forget * torch.rand(batch, heads, time, generator=generator),
        "beta": torch.rand(batch, heads, time, generator=generator),
        "memory": normal(batch, heads, qk_dim, v_dim),
    }


def cut_into_documents(lengths: list[int], *, time: int) -> Tensor:
    """Numbers that come back every third document."""
    numbers = torch.tensor([i % 3 for i, length in enumerate(lengths) for _ in range(length)])
    return F.pad(numbers, (0, max(0, time - len(numbers))), value=7)[:time]


def assert_same_function(parts: dict[str, Tensor], *, docs: Tensor | None, chunk: int) -> None:
    """Outputs, final memories and the gradients of a random functional of both."""
    results = []
    for run, more in ((recurrent, {}), (chunked, {"chunk": chunk})):
        mine: dict[str, Any] = {name: part.clone().requires_grad_() for name, part in parts.items()}
        y, memory = run(**mine, docs=docs, **more)
        generator = torch.Generator().manual_seed(9)
        loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in (y, memory))
        assert isinstance(loss, Tensor)
        loss.backward()
        results.append((y, memory, *(part.grad for part in mine.values())))
    for slow, fast in zip(*results, strict=True):
        assert fast.isfinite().all()
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


@given(
    time=st.integers(1, 40),
    chunk=st.integers(1, 48),
    forget=st.sampled_from([0.0, 0.1, 3.0, 200.0]),
    lengths=st.none() | st.lists(st.integers(1, 15), min_size=2, max_size=12),
)
def test_chunks_compute_the_recurrence(time: int, chunk: int, forget: float, lengths: list[int] | None):
    parts = inputs(time=time, forget=forget)
    docs = None
    if lengths is not None:
        docs = torch.stack([cut_into_documents(row, time=time) for row in (lengths, lengths[::-1])])
    assert_same_function(parts, docs=docs, chunk=chunk)


def test_long_sequences_stay_exact():
    assert_same_function(inputs(time=1000, qk_dim=16, v_dim=16, forget=0.01), docs=None, chunk=64)


@pytest.mark.parametrize("chunk", [3, 16])
def test_a_key_that_comes_again_replaces_its_value(chunk: int):
    """Without decay, with beta 1 and orthogonal keys, the memory is a dictionary: what q = k reads was written last."""
    keys = torch.tensor([0, 1, 2, 1, 0, 3, 1, 0])
    parts = inputs(batch=1, heads=1, time=len(keys), qk_dim=4, forget=0.0)
    parts["k"] = torch.eye(4)[keys][None, None]
    parts["q"] = torch.eye(4)[torch.tensor([0, 0, 1, 0, 1, 2, 3, 1])][None, None]
    parts["beta"], parts["memory"] = torch.ones_like(parts["beta"]), torch.zeros_like(parts["memory"])
    last_written = torch.tensor([0, 0, 1, 0, 3, 2, 5, 6])
    for y, _ in (recurrent(**parts, docs=None), chunked(**parts, docs=None, chunk=chunk)):
        torch.testing.assert_close(y, parts["v"][:, :, last_written], rtol=1e-5, atol=1e-6)


def test_a_document_whose_number_comes_back_is_a_new_one():
    model, tokens = build("attention=linear", "attention.chunk=6"), random_tokens(batch=1)
    docs = torch.tensor([[3] * 10 + [4] * 4 + [3] * 18])
    with torch.no_grad():
        packed = model(tokens, docs=docs).logits
        for start, end in ((0, 10), (10, 14), (14, 32)):
            alone = model(tokens[:, start:end]).logits
            torch.testing.assert_close(packed[:, start:end], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_the_convolution_is_that_of_torch_and_goes_on(width: int):
    fast, slow = (ShortConvolution(6, width=width, naive=naive) for naive in (False, True))
    slow.load_state_dict(fast.state_dict())
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    expected = F.conv1d(F.pad(x.mT, (width - 1, 0)), fast.weight[:, None], groups=6).mT
    for conv in (fast, slow):
        torch.testing.assert_close(conv(x, last=None, docs=None)[0], expected)
        first, last = conv(x[:, :2], last=None, docs=None)
        rest, last = conv(x[:, 2:], last=last, docs=None)
        torch.testing.assert_close(torch.cat([first, rest], dim=1), expected)
        assert torch.equal(last, x[:, 10 - width :])


def test_what_decoding_keeps_does_not_grow():
    model = build("attention=linear")
    with torch.no_grad():
        short, long = (model(random_tokens(time=time)).state[0] for time in (2, 30))
    assert (short.length, long.length) == (2, 30)
    assert [part.shape for part in short[:2]] == [part.shape for part in long[:2]]


def test_cost_does_not_depend_on_the_context_and_state_is_shared_by_it():
    architecture = options.architecture("attention=linear")
    short, long = (architecture.body_cost(vocab=options.VOCAB, context=context) for context in (32, 320))
    assert short.flops == long.flops == long.flops_mfu
    assert short.state_bytes == pytest.approx(10 * long.state_bytes)


def test_value_embeddings_enter_the_memory_and_decoding_goes_on():
    model, tokens = build("attention=linear", "model.value_embeddings=all"), random_tokens()
    with torch.no_grad():
        whole, first = model(tokens).logits, model(tokens[:, :11])
        rest = model(tokens[:, 11:], state=first.state).logits
        torch.testing.assert_close(rest, whole[:, 11:], rtol=1e-4, atol=1e-5)
        model.value_scale.zero_()
        assert not torch.allclose(model(tokens).logits, whole, atol=1e-3)


@pytest.mark.parametrize("heads", [1, 4, 12])
def test_heads_start_with_memories_from_long_to_short(heads: int):
    rate, step = initial_decay(heads)
    assert ((rate > 0) & (rate < 16)).all() and ((step > 1e-3) & (step < 0.1)).all()
    assert (rate.diff() > 0).all() and (step.diff() > 0).all()
    linear = build("attention=linear").get_submodule("blocks.0.attention")
    assert isinstance(linear, Linear)
    rate, step = initial_decay(4)
    torch.testing.assert_close(linear.A_log.exp(), rate)
    torch.testing.assert_close(F.softplus(linear.dt_bias), step)


def test_linear_attention_has_no_use_for_rotations():
    assert type(options.architecture("attention=linear", "position=rope").position).__name__ == "NoneSpec"
