"""Native Sparse Attention against its definition, query by query, and what its block sizes may be."""

from __future__ import annotations

import itertools
import math
from typing import Any

import options
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nanochat.attention.base import Attention
from nanochat.attention.blocks import Blocks, choose, derive, importance, problems
from nanochat.attention.nsa import NSA, Compress, compressed_attention
from nanochat.core.errors import SpecError
from nanochat.core.geometry import Geometry

DIM = 64


def attention(*overrides: str, option: str = "nsa", context: int = 32, seed: int = 1) -> Attention[Any]:
    """The attention of the first block, its weights drawn as in training."""
    architecture = options.architecture(f"attention={option}", *overrides, context=context)
    model = architecture.build(vocab=options.VOCAB, context=context, seed=seed)
    found = model.get_submodule("blocks.0.attention")
    assert isinstance(found, Attention)
    return found


def stream(time: int, *, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, time, DIM, generator=torch.Generator().manual_seed(seed))


class Open(nn.Module):
    """Gates that let one branch through whole, and nothing of the others."""

    def __init__(self, branch: int, heads: int) -> None:
        super().__init__()
        logits = torch.full((3, heads), -math.inf)
        logits[branch] = math.inf
        self.logits = logits.flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(*x.shape[:2], -1)


def attend(q: Tensor, keys: list[Tensor], values: list[Tensor]) -> tuple[Tensor, list[float]]:
    """One query of one head: its output and its probabilities."""
    if not keys:
        return torch.zeros_like(q), []
    scores = [math.exp(float(q @ key) / math.sqrt(len(q))) for key in keys]
    p = [score / sum(scores) for score in scores]
    return sum((w * v for w, v in zip(p, values, strict=True)), torch.zeros_like(q)), p


def by_definition(nsa: NSA, x: Tensor) -> tuple[Tensor, list[list[int]], list[int]]:
    """The output for one document without positions, the blocks each (query, group) selects, and the keys that all
    queries of one head meet in each branch."""
    l, d, size, n, w = vars(nsa.blocks).values()  # noqa: E741 - the paper's letter
    heads, groups, width, time = nsa.heads, nsa.kv_heads, nsa.head_dim, len(x)
    q = nsa.q_proj(x).view(time, heads, width)
    k, v = (p(x).view(time, 3, groups, width) for p in (nsa.k_proj, nsa.v_proj))
    gate = nsa.gate_proj(x).sigmoid().view(time, 3, heads)

    def phi(net: Compress, tokens: Tensor) -> Tensor:
        return net.down_proj.weight @ F.gelu(net.up_proj.weight @ torch.cat(list(tokens + net.place)))

    out, selections, met = torch.zeros(time, heads, width), [], [0, 0, 0]
    for t, group in itertools.product(range(time), range(groups)):
        begins = [i for i in range(0, time, d) if i + l <= t + 1]
        small_k = [phi(nsa.k_compress, k[i : i + l, 0, group]) for i in begins]
        small_v = [phi(nsa.v_compress, v[i : i + l, 0, group]) for i in begins]
        mine = range(group * heads // groups, (group + 1) * heads // groups)
        coarse = {head: attend(q[t, head], small_k, small_v) for head in mine}
        weight = {}
        for block in range(t // size + 1):
            inside = range(block * size, (block + 1) * size, d)
            # Every stride of tokens that a compressed block shares with this one carries that block's probability.
            shared = [sum(c in inside for c in range(i, i + l, d)) for i in begins]
            weight[block] = sum(m * p for head in mine for m, p in zip(shared, coarse[head][1], strict=True))
        always = {0, t // size, t // size - 1} & set(weight)
        others = sorted(set(weight) - always, key=lambda block: (-weight[block], block))
        chosen = sorted([*always, *others[: n - len(always)]])
        selections.append(chosen)
        fine = [s for s in range(t + 1) if s // size in chosen]
        near = [s for s in range(t + 1) if t - s < w]
        for head in mine:
            parts = [
                coarse[head][0],
                attend(q[t, head], [k[s, 1, group] for s in fine], [v[s, 1, group] for s in fine])[0],
                attend(q[t, head], [k[s, 2, group] for s in near], [v[s, 2, group] for s in near])[0],
            ]
            out[t, head] = sum((g * part for g, part in zip(gate[t, :, head], parts, strict=True)), out[t, head])
        if group == 0:
            met = [a + len(b) for a, b in zip(met, (begins, fine, near), strict=True)]
    return nsa.o_proj(out.flatten(1)), selections, met


SIZES = [
    (),
    ("attention.kv_heads=1", "attention.selected=5"),
    ("attention.kv_heads=heads", "attention.compress_block=6", "attention.compress_stride=2", "attention.window=7"),
    ("attention.compress_block=3", "attention.compress_stride=1", "attention.select_block=5"),
    ("attention.compress_block=4", "attention.compress_stride=4", "attention.select_block=4"),
]


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
@pytest.mark.parametrize("sizes", SIZES, ids=" ".join)
def test_output_and_costs_are_those_of_the_definition(sizes: tuple[str, ...], kernel: str):
    time = 37
    overrides = ("position=none", *sizes, f"attention.kernel={kernel}")
    nsa = attention(*overrides, context=time)
    assert isinstance(nsa, NSA)
    x = stream(time)
    with torch.no_grad():
        expected, selections, met = by_definition(nsa, x[0])
        torch.testing.assert_close(nsa(x)[0][0], expected, rtol=1e-4, atol=1e-5)
    assert {len(chosen) for chosen in selections} == set(range(1, nsa.blocks.selected + 1))
    per_branch = nsa.blocks.pairs(time)
    assert [time * pairs for pairs in per_branch] == pytest.approx(met)
    cost = options.architecture("attention=nsa", *overrides, context=time).attention.cost(
        Geometry(dim=DIM, depth=2, layer=0, vocab=options.VOCAB, context=time)
    )
    unseen = 2 * time + nsa.blocks.complete(time) - sum(met) / time
    assert cost.flops_mfu - cost.flops == pytest.approx(6 * nsa.heads * 2 * nsa.head_dim * unseen)


def test_the_choice_depends_on_what_is_read_and_is_one_for_a_group():
    nsa = attention("position=none", context=64)
    assert isinstance(nsa, NSA)
    with torch.no_grad():
        _, one, _ = by_definition(nsa, stream(64)[0])
        _, other, _ = by_definition(nsa, stream(64, seed=1)[0])
    assert one != other
    assert one[-2] != one[-1], "two groups that chose alike by the same keys would prove nothing"


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
@pytest.mark.parametrize("branch", [1, 2], ids=["selected", "window"])
def test_with_every_block_selected_or_all_in_the_window_it_is_causal_attention(branch: int, kernel: str):
    nsa = attention("attention.selected=99", "attention.window=99", f"attention.kernel={kernel}")
    full = attention(option="gqa")
    assert isinstance(nsa, NSA)
    width = nsa.kv_heads * nsa.head_dim
    rows = slice(branch * width, (branch + 1) * width)
    with torch.no_grad():
        full.load_state_dict(
            {
                "q_proj.weight": nsa.q_proj.weight,
                "k_proj.weight": nsa.k_proj.weight[rows],
                "v_proj.weight": nsa.v_proj.weight[rows],
                "o_proj.weight": nsa.o_proj.weight,
            }
        )
        nsa.add_module("gate_proj", Open(branch, nsa.heads))
        x = stream(32, batch=2)
        torch.testing.assert_close(nsa(x)[0], full(x)[0], rtol=1e-4, atol=1e-5)


def test_before_the_first_complete_block_the_compressed_branch_is_exactly_zero():
    nsa = attention("attention.compress_block=8", "attention.select_block=8")
    assert isinstance(nsa, NSA)
    nsa.add_module("gate_proj", Open(0, nsa.heads))
    x = stream(32).requires_grad_()
    y, _ = nsa(x)
    assert not y[:, :7].any() and y[:, 7:].abs().sum(-1).all()
    y.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in nsa.parameters())


@pytest.mark.parametrize("time", [1, 5])
def test_a_sequence_shorter_than_a_block_trains(time: int):
    nsa = attention("attention.compress_block=8", "attention.select_block=8")
    assert isinstance(nsa, NSA)
    y, state = nsa(stream(time))
    y.sum().backward()
    assert y.isfinite().all() and y.any() and state.length == time
    assert nsa.q_proj.weight.grad is not None and nsa.q_proj.weight.grad.isfinite().all()


def test_no_gradient_is_lost_where_some_queries_see_nothing():
    q, k, v = (torch.randn(1, heads, 3, 4, requires_grad=True, dtype=torch.float64) for heads in (2, 1, 1))
    seen = torch.tensor([[[False, False, False], [True, False, False], [True, True, False]]])

    def output(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return compressed_attention(q, k, v, seen=seen, scale=0.5)[0]

    assert torch.autograd.gradcheck(output, (q, k, v))


@given(data=st.data())
@settings(max_examples=25)
def test_any_packing_equals_the_documents_one_by_one(data: st.DataObject):
    context = 64
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=8).filter(lambda n: sum(n) <= context))
    position = data.draw(st.sampled_from(["none", "rope"]))
    nsa = attention(f"position={position}", *data.draw(st.sampled_from(SIZES)), context=context)
    x = stream(sum(lengths), batch=2)
    numbers = data.draw(st.lists(st.integers(0, 9), min_size=len(lengths), max_size=len(lengths), unique=True))
    # The other row is one document, so that the rows differ in how many blocks they have.
    docs = torch.tensor([[d for d, n in zip(numbers, lengths, strict=True) for _ in range(n)], [7] * sum(lengths)])
    with torch.no_grad():
        packed, _ = nsa(x, docs=docs)
        torch.testing.assert_close(packed[1], nsa(x[1:])[0][0], rtol=1e-4, atol=1e-5)
        for start, end in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
            torch.testing.assert_close(packed[0, start:end], nsa(x[:1, start:end])[0][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES, ids=" ".join)
def test_a_later_document_chooses_its_own_blocks(sizes: tuple[str, ...]):
    nsa = attention("attention.selected=4", *sizes, context=96)
    x = stream(96)
    docs = torch.tensor([[0] * 25 + [1] * 71])
    with torch.no_grad():
        packed, _ = nsa(x, docs=docs)
        torch.testing.assert_close(packed[:, 25:], nsa(x[:, 25:])[0], rtol=1e-4, atol=1e-5)


def test_values_from_outside_are_added_to_those_of_all_branches():
    nsa, x = attention(), stream(32)
    assert isinstance(nsa, NSA)
    with torch.no_grad():
        expected, values = nsa(x)[0], nsa.v_proj(x)
        width = options.architecture("attention=nsa").attention.value_width(options.GEOMETRY)
        assert values.shape[-1] == width
        nsa.v_proj.weight.zero_()
        torch.testing.assert_close(nsa(x, values=values)[0], expected)


@given(cuts=st.sets(st.integers(1, 36)), sizes=st.sampled_from(SIZES))
@settings(max_examples=20)
def test_the_state_is_the_same_however_it_came_about_and_keeps_no_more_than_it_must(
    cuts: set[int], sizes: tuple[str, ...]
):
    nsa = attention(*sizes, context=37)
    assert isinstance(nsa, NSA)
    x = stream(37)
    state = None
    with torch.no_grad():
        _, whole = nsa(x)
        for start, end in itertools.pairwise((0, *sorted(cuts), 37)):
            _, state = nsa(x[:, start:end], state=state)
    assert state is not None
    for one, other in zip(state, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    made = nsa.blocks.complete(37)
    lengths = [part.shape[3] for part in whole]
    assert lengths == [37, min(37, nsa.blocks.window), made, 37 - made * nsa.blocks.compress_stride]


PAPER = Blocks(compress_block=32, compress_stride=16, select_block=64, selected=16, window=512)


def test_importance_of_a_block_by_hand():
    """Block 1 holds the strides 4 … 7; compressed block i covers the strides i and i + 1."""
    p = torch.arange(11.0).square()
    found = importance(p.view(1, 1, 1, -1), PAPER, count=3).flatten()
    assert found[1] == p[3] + 2 * (p[4] + p[5] + p[6]) + p[7]
    assert found[0] == 2 * (p[0] + p[1] + p[2]) + p[3]
    assert found[2] == p[7] + 2 * (p[8] + p[9] + p[10])


@given(st.data())
def test_a_choice_is_of_begun_blocks_with_the_first_and_the_local_ones(data: st.DataObject):
    count, selected = data.draw(st.integers(1, 9)), data.draw(st.integers(3, 6))
    blocks = Blocks(compress_block=2, compress_stride=2, select_block=4, selected=selected, window=1)
    # Few values, so that blocks tie; ties go to the first.
    values = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=count, max_size=count))
    position = torch.arange(4 * count)
    score = torch.tensor(values).expand(1, 1, len(position), count)
    for t, row in enumerate(choose(score, blocks, position=position[None])[0, 0]):
        own, chosen = t // 4, row.nonzero().flatten().tolist()
        always = {0, own, max(0, own - 1)}
        free = sorted(set(range(own + 1)) - always, key=lambda block: (-values[block], block))
        assert chosen == sorted([*always, *free[: selected - len(always)]])


def test_from_4096_tokens_on_the_sizes_are_the_papers():
    nothing = dict.fromkeys(vars(PAPER))
    assert derive(**nothing, context=4096) == derive(**nothing, context=65536) == PAPER


@given(st.data())
@settings(max_examples=200)
def test_what_is_derived_beside_what_is_given_breaks_no_rule_if_any_can_be_kept(data: st.DataObject):
    context = data.draw(st.integers(1, 5000))
    given = {name: data.draw(st.none() | st.integers(1, 80)) for name in ("compress_block", "select_block")}
    stride = data.draw(st.none() | st.integers(1, 20))
    blocks = derive(**given, compress_stride=stride, selected=None, window=None, context=context)
    l, d, size = given["compress_block"], stride, given["select_block"]  # noqa: E741 - the paper's letters
    impossible = (l is not None and (l > context or (size is not None and l > size))) or (
        d is not None and (d > context or any(given_size and given_size % d for given_size in (l, size)))
    )
    assert bool(problems(blocks, context=context)) == impossible
    if not any((l, d, size)) and context >= 32:
        assert blocks.complete(context) > 8 and blocks.window < context / 4
        assert math.ceil(context / blocks.select_block) >= 2 * blocks.selected, "there is something to choose"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["compress_block=4", "compress_stride=3", "select_block=8"],
            "attention.compress_stride=3: must divide compress_block=4; try 1, 2 or 4",
        ),
        (["compress_block=8", "select_block=4"], "attention.compress_block=8: must be at most select_block=4"),
        (["compress_block=64"], "attention.compress_block=64: must be at most context=32"),
        (
            ["compress_block=4", "compress_stride=4", "select_block=6"],
            "attention.compress_stride=4: must divide select_block=6; try 1 or 2",
        ),
        (["compress_block=48", "compress_stride=12", "select_block=48"], "at most context=32; try 12 or 24"),
        (["selected=2"], "attention.selected=2: must be at least 3, since the first block and two local ones"),
        (["kv_heads=3"], "attention.kv_heads=3: must divide heads=4; try 1, 2 or 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: list[str], said: str):
    with pytest.raises(SpecError) as error:
        options.architecture("attention=nsa", *(f"attention.{item}" for item in overrides))
    assert said in str(error.value)
