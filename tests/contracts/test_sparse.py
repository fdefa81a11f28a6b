"""The Sparse Transformer's patterns: what they are, what they refuse, and what a refusal proposes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import options
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.attention.base import Attention
from nanochat.attention.masked import visible
from nanochat.attention.pattern import Kind, Pattern, derive, nearest_valid, problems
from nanochat.attention.sparse import Sparse, SparseSpec
from nanochat.core.errors import SpecError
from nanochat.position.base import Position

KINDS: tuple[Kind, ...] = ("fixed", "strided", "local")
NEIGHBOUR = Pattern(kind="fixed", blocksize=1, local_attn_ctx=32, num_verts=16, vertsize=2)


def dense(pattern: Pattern, *, heads: int, context: int) -> torch.Tensor:
    return visible(pattern.mask, q_len=context, k_len=context, heads=heads).expand(heads, -1, -1)


def test_a_known_density():
    assert not problems(NEIGHBOUR, heads=16, context=64)
    assert NEIGHBOUR.density(64) == pytest.approx(0.538, abs=5e-4)


def test_an_invalid_tuple_is_refused_with_its_valid_neighbour():
    given = ["attention.heads=16", "attention.local_attn_ctx=32", "attention.blocksize=32", "attention.vertsize=64"]
    with pytest.raises(SpecError) as error:
        options.architecture("attention=sparse", *given, "attention.num_verts=16", context=64)
    text = str(error.value)
    assert "attention.vertsize=64: must divide the stride of 1 in blocks" in text
    assert "blocksize=1, local_attn_ctx=32, num_verts=16, vertsize=2" in text


def test_fixed_by_hand():
    """Segments of 4 in blocks of 2: column 0 is a segment's second block, column 1 its first."""
    seen = dense(Pattern(kind="fixed", blocksize=2, local_attn_ctx=4, num_verts=2, vertsize=1), heads=2, context=8)
    keys = [[row.nonzero().flatten().tolist() for row in head] for head in seen]
    assert keys[0][5] == [2, 3, 4, 5] and keys[1][5] == [0, 1, 4, 5]
    assert keys[0][3] == keys[1][3] == [0, 1, 2, 3]


@given(st.data())
def test_any_valid_pattern(data: st.DataObject):
    kind = data.draw(st.sampled_from(KINDS))
    context, heads = data.draw(st.sampled_from([8, 12, 24, 64])), data.draw(st.sampled_from([1, 2, 4, 6, 16]))
    size = st.integers(1, 40)
    pattern = Pattern(
        kind=kind,
        blocksize=data.draw(size),
        local_attn_ctx=data.draw(size),
        num_verts=data.draw(size) if kind == "fixed" else 1,
        vertsize=data.draw(size) if kind == "fixed" else 1,
    )
    if problems(pattern, heads=heads, context=context):
        found = nearest_valid(pattern, heads=heads, context=context)
        assert found is not None and found.density(context) < 1
        pattern = found
    assert not problems(pattern, heads=heads, context=context)
    seen = dense(pattern, heads=heads, context=context)
    causal = torch.ones(context, context, dtype=torch.bool).tril()
    assert not (seen & ~causal).any()
    assert seen.diagonal(dim1=-2, dim2=-1).all(), "a row without any key would be NaN"
    for head in seen:
        assert head.sum() / context == pytest.approx(pattern.pairs(context))
    stride = pattern.local_attn_ctx // pattern.blocksize
    if kind == "fixed" and pattern.num_verts * pattern.vertsize == stride:
        assert torch.equal(seen.any(0), causal)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [1, 3, 4, 5, 6, 7, 12, 16])
@pytest.mark.parametrize("context", [8, 31, 128, 256, 1000, 2048])
def test_what_is_derived_is_valid_and_truly_sparse(kind: Kind, heads: int, context: int):
    pattern = derive(
        kind, blocksize=1, local_attn_ctx=None, num_verts=None, vertsize=None, heads=heads, context=context
    )
    assert not problems(pattern, heads=heads, context=context)
    assert pattern.density(context) < 0.9
    assert pattern.local_attn_ctx <= math.sqrt(context) < 2 * pattern.local_attn_ctx


class Slopes(Position):
    """Scores fall with distance, in each head at another rate."""

    def bias(self, q_len: int, k_len: int, *, heads: int, device: torch.device) -> torch.Tensor:
        query = torch.arange(k_len - q_len, k_len, device=device)[:, None]
        distance = (query - torch.arange(k_len, device=device)).float()
        return -distance * torch.arange(1, heads + 1, device=device)[:, None, None] / 8


def sparse(kernel: str, *, position: Position) -> Attention[Any]:
    """An attention of 4 heads over 32 tokens, with the same weights each time."""
    spec = options.architecture("attention=sparse", f"attention.kernel={kernel}").attention
    assert isinstance(spec, SparseSpec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return spec.build(options.GEOMETRY, position=position)


X = torch.randn(2, 32, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
def test_a_bias_is_added_to_the_scaled_scores_of_the_pairs_that_are_seen(kernel: str):
    attention = sparse(kernel, position=Slopes())
    assert isinstance(attention, Sparse)
    q, k, v = (p(X).view(2, 32, 4, 16) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    expected = torch.zeros(2, 32, 4, 16)
    for row, t, head in itertools.product(range(2), range(32), range(4)):
        seen = [s for s in range(t + 1) if attention.mask[head, t, s]]
        scores = [q[row, t, head] @ k[row, s, head] / 4 - (t - s) * (head + 1) / 8 for s in seen]
        expected[row, t, head] = torch.stack(scores).softmax(0) @ v[row, seen, head]
    y, _ = attention(X)
    torch.testing.assert_close(y, attention.o_proj(expected.flatten(2)), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(y, sparse(kernel, position=Position())(X)[0], atol=1e-2)


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
def test_a_bias_holds_in_packed_documents_and_step_by_step(kernel: str):
    attention = sparse(kernel, position=Slopes())
    docs = torch.tensor([[0] * 11 + [1] * 21, [0] * 20 + [1] * 12])
    with torch.no_grad():
        packed, _ = attention(X, docs=docs)
        for row, start, end in ((0, 0, 11), (0, 11, 32), (1, 0, 20), (1, 20, 32)):
            alone = attention(X[row : row + 1, start:end])[0][0]
            torch.testing.assert_close(packed[row, start:end], alone, rtol=1e-4, atol=1e-5)
        state, parts = None, []
        for start, end in ((0, 9), (9, 10), (10, 32)):
            y, state = attention(X[:, start:end], state=state)
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, dim=1), attention(X)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_both_kernels_add_a_bias_alike(dtype: torch.dtype):
    fast, slow = (sparse(kernel, position=Slopes()).to(dtype) for kernel in ("sdpa", "naive"))
    x = X.to(dtype)
    one, other = (attention(x)[0] for attention in (fast, slow))
    exact = dtype == torch.float32
    torch.testing.assert_close(one, other, rtol=1e-4 if exact else 0.05, atol=1e-5 if exact else 0.02)
    for y in (one, other):
        y.float().square().sum().backward()
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3 if exact else 0.1, atol=1e-3 if exact else 0.5)


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
def test_values_from_outside_are_added_to_those_of_the_token(kernel: str):
    attention = sparse(kernel, position=Position())
    assert isinstance(attention, Sparse)
    with torch.no_grad():
        expected, values = attention(X)[0], attention.v_proj(X)
        attention.v_proj.weight.zero_()
        torch.testing.assert_close(attention(X, values=values)[0], expected)
