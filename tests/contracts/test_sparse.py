"""The Sparse Transformer's patterns: what they are, what they refuse, and what a refusal proposes."""

from __future__ import annotations

import math

import options
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.attention.masked import visible
from nanochat.attention.pattern import Kind, Pattern, derive, nearest_valid, problems
from nanochat.core.errors import SpecError

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
