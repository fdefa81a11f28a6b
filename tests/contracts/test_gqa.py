"""Grouped-query attention: its kernels hold to the definition, its options are what they are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import options
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from test_model_parts import build, random_tokens
from torch import Tensor, nn

from nanochat.attention.chunked import chunked
from nanochat.attention.flash import boundaries, installed, load
from nanochat.attention.flex import flex
from nanochat.attention.gqa import GQA, GQASpec
from nanochat.attention.kernels import KERNELS
from nanochat.attention.masked import visible
from nanochat.attention.softmax import Scores, fused, naive
from nanochat.attention.window import Recent, pairs, windowed
from nanochat.core.errors import MachineError, SpecError
from nanochat.position.base import Position, PositionSpec


class Slopes(Position):
    """A learned bias that falls with the distance, steeper from head to head."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3))

    def bias(
        self, q_len: int, k_len: int, *, heads: int, device: torch.device
    ) -> Float[Tensor, "heads query key"] | None:
        query, key = torch.arange(k_len - q_len, k_len)[:, None], torch.arange(k_len)[None]
        return -self.slope * torch.arange(1, heads + 1)[:, None, None] * (query - key).abs()


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rules(**changes: Any) -> Scores:
    """Scores of 8 channels without any extras, but for `changes`."""
    plain: dict[str, Any] = {"soft_cap": None, "window": None, "sinks": None, "position": Position()}
    return Scores(**{"scale": 8**-0.5, **plain, **changes})


def inputs(*, q_len: int, k_len: int, kv_heads: int = 2) -> list[Tensor]:
    shapes = ((2, 4, q_len, 8), (2, kv_heads, k_len, 8), (2, kv_heads, k_len, 8))
    return [randn(*shape, seed=i) for i, shape in enumerate(shapes)]


def answers(attend: Callable[..., Tensor], tensors: list[Tensor], *, bias: bool, sinks: bool, **rest: Any) -> list:
    """The output, and the gradients of everything that has one, in double precision."""
    docs = rest.pop("docs", None)
    q, k, v = (x.double().requires_grad_() for x in tensors)
    position = Slopes().double() if bias else Position()
    logits = nn.Parameter(randn(4, seed=7).double()) if sinks else None
    y = attend(q, k, v, scores=rules(position=position, sinks=logits, **rest), docs=docs)
    (y * randn(*y.shape, seed=8)).sum().backward()
    learned = [*position.parameters(), *([] if logits is None else [logits])]
    return [y, q.grad, k.grad, v.grad, *(p.grad for p in learned)]


@given(st.data())
def test_sdpa_and_chunks_equal_the_definition_with_gradients(data: st.DataObject):
    time = data.draw(st.integers(1, 33), label="time")
    attend = data.draw(st.sampled_from([fused, chunked]), label="kernel")
    window = data.draw(st.integers(1, 40) if attend is chunked else st.none() | st.integers(1, 40), label="window")
    # A state keeps window − 1 tokens at most; documents are packed where there is no state.
    past = data.draw(st.integers(0, 40 if window is None else window - 1), label="past")
    begins = None if past else data.draw(st.none() | st.lists(st.booleans(), min_size=time, max_size=time))
    docs = None if begins is None else torch.tensor([begins, begins[::-1]]).cumsum(dim=1)
    features = {name: data.draw(st.booleans(), label=name) for name in ("bias", "sinks")}
    tensors = inputs(q_len=time, k_len=past + time, kv_heads=data.draw(st.sampled_from([1, 2, 4]), label="kv_heads"))
    found, expected = (answers(a, tensors, docs=docs, window=window, **features) for a in (attend, naive))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [None, 1, 5])
@pytest.mark.parametrize(("past", "docs"), [(0, None), (3, None), (0, [[0] * 9 + [1] * 8, [4] * 3 + [5] * 14])])
def test_flex_equals_the_definition(window: int | None, past: int, docs: list[list[int]] | None):
    """Uncompiled on a CPU, where it has no gradients."""
    tensors = inputs(q_len=17, k_len=17 + past)
    documents = None if docs is None else torch.tensor(docs)
    with torch.no_grad():
        for soft_cap in (None, 0.5):
            for position in (Position(), Slopes()):
                for sinks in (None, randn(4, seed=7)):
                    scores = rules(window=window, soft_cap=soft_cap, position=position, sinks=sinks)
                    y, expected = (attend(*tensors, scores=scores, docs=documents) for attend in (flex, naive))
                    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)


def test_the_definition_term_by_term():
    """For one query: scale, cap, bias, then a softmax in which the sink takes its share."""
    q, k, v = inputs(q_len=1, k_len=3, kv_heads=4)
    position, sinks = Slopes(), randn(4, seed=7)
    y = naive(q, k, v, scores=rules(scale=2.0, soft_cap=1.5, position=position, sinks=sinks), docs=None)
    for batch in range(2):
        for head in range(4):
            scores = [1.5 * torch.tanh(2.0 * q[batch, head, 0] @ k[batch, head, t] / 1.5) for t in range(3)]
            powers = [torch.exp(s - 0.3 * (head + 1) * (2 - t)) for t, s in enumerate(scores)]
            total = sum(powers) + sinks[head].exp()
            expected = sum(p / total * v[batch, head, t] for t, p in enumerate(powers))
            torch.testing.assert_close(y[batch, head, 0], expected)


@pytest.mark.parametrize("attend", [naive, fused])
def test_a_sink_takes_weight_from_the_values(attend: Callable[..., Tensor]):
    q, k, v = inputs(q_len=5, k_len=5)
    zero, none = torch.zeros(4), torch.full((4,), -1e4)
    alone = attend(torch.zeros_like(q), k, v, scores=rules(sinks=zero), docs=None)
    torch.testing.assert_close(alone[:, :, 0], v[:, :, 0].repeat_interleave(2, dim=1) / 2)
    without = attend(q, k, v, scores=rules(), docs=None)
    torch.testing.assert_close(attend(q, k, v, scores=rules(sinks=none), docs=None), without)
    assert attend(q, k, v, scores=rules(sinks=-none), docs=None).abs().max() == 0


@given(context=st.integers(1, 50), window=st.none() | st.integers(1, 60))
def test_pairs_are_those_that_the_mask_lets_through(context: int, window: int | None):
    seen = visible(windowed(window), q_len=context, k_len=context)
    assert pairs(context=context, window=window) == pytest.approx(seen.float().sum().item() / context)


@pytest.mark.parametrize("kernel", ["chunked", "sdpa", "naive"])
def test_decoding_keeps_no_more_than_the_window_needs(kernel: str):
    model, tokens = build("attention=local", "attention.window=6", f"attention.kernel={kernel}"), random_tokens()
    with torch.no_grad():
        whole = model(tokens).logits
        state, logits = None, []
        for part in tokens.split([3, 1, 15, 1, 1, 11], dim=1):
            output = model(part, state=state)
            state = output.state
            logits.append(output.logits)
    torch.testing.assert_close(torch.cat(logits, dim=1), whole, rtol=1e-4, atol=1e-5)
    for kept in state or ():
        assert isinstance(kept, Recent) and kept.length == tokens.shape[1]
        assert kept.k.shape[2] == kept.v.shape[2] == 5


def gqa(*overrides: str) -> GQA:
    module = build(*overrides).get_submodule("blocks.0.attention")
    assert isinstance(module, GQA)
    return module


@pytest.mark.parametrize("kind", ["head", "vector", "plain"])
def test_normed_queries_and_keys_have_no_length(kind: str):
    module, x = gqa(f"attention.qk_norm={kind}", "attention.qk_norm_eps=1e-12"), randn(2, 32, 64, seed=1)
    before = module(x)[0]
    with torch.no_grad():
        for projection in (module.q_proj, module.k_proj):
            projection.weight *= 7
    torch.testing.assert_close(module(x)[0], before)
    gains = {name: p.shape for name, p in module.named_parameters() if "norm" in name}
    widths = {"head": (16, 16), "vector": (64, 32), "plain": ()}[kind]
    assert [tuple(shape) for shape in gains.values()] == [(width,) for width in widths]


@pytest.mark.parametrize(("kind", "by_hand"), [("head", (2, 4, 32, 16)), ("vector", (2, 1, 32, 64))])
def test_norms_act_over_a_head_or_over_all(kind: str, by_hand: tuple[int, ...]):
    """Seen through the keys that decoding keeps, which are normed; without positions they are not turned."""
    module = gqa("attention=mha", f"attention.qk_norm={kind}", "position=none")
    x = randn(2, 32, 64, seed=1)
    keys = module(x)[1].k
    flat = module.k_proj(x).view(2, 32, by_hand[1], by_hand[3]).transpose(1, 2)
    flat = flat / flat.square().mean(-1, keepdim=True).sqrt()
    expected = flat.transpose(1, 2).reshape(2, 32, 4, 16).transpose(1, 2)
    torch.testing.assert_close(keys, expected, rtol=1e-4, atol=1e-5)


def test_scores_follow_the_parametrisation():
    half, full = (build_with(head_power) for head_power in (0.5, 1.0))
    assert half.scale == 16**-0.5 and full.scale == 16**-1
    full.load_state_dict(half.state_dict())
    x = randn(2, 32, 64, seed=1)
    assert not torch.allclose(half(x)[0], full(x)[0], atol=1e-4)
    with torch.no_grad():
        full.q_proj.weight *= 4  # √16
    torch.testing.assert_close(half(x)[0], full(x)[0])


def build_with(head_power: float) -> GQA:
    geometry = replace(options.GEOMETRY, head_power=head_power)
    spec = options.architecture().attention
    assert isinstance(spec, GQASpec)
    torch.manual_seed(0)
    return spec.build(geometry, position=Position())


def test_a_soft_cap_bounds_the_scores_of_a_model():
    """A tiny cap leaves all scores near zero: attention is the mean of the values so far."""
    module = gqa("attention=mha", "attention.kernel=naive", "attention.soft_cap=1e-6")
    x = randn(2, 32, 64, seed=1)
    mean = module.v_proj(x).cumsum(dim=1) / torch.arange(1, 33)[:, None]
    torch.testing.assert_close(module(x)[0], module.o_proj(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
def test_under_autocast_queries_keys_and_values_have_one_type(kernel: str):
    module = gqa("attention.qk_norm=head", "attention.sinks=true", f"attention.kernel={kernel}")
    x, values = randn(2, 32, 64, seed=1), randn(2, 32, 32, seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = module(x, values=values)
    assert {state.k.dtype, state.v.dtype, y.dtype} == {torch.bfloat16}
    torch.testing.assert_close(y.float(), module(x, values=values)[0], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attention.window=33"], "attention.window=33: must be at most context=32; try 8, or null for no window"),
        (["attention.window=0"], "attention.window"),
        (
            ["attention.kernel=chunked"],
            "attention.kernel=chunked: goes by chunks of the window, and window is null; set window, or use sdpa",
        ),
        (["attention.soft_cap=5"], "attention.kernel=sdpa: cannot do soft_cap=5; use flex, flash or naive"),
        (["attention=local", "attention.soft_cap=5"], "attention.kernel=chunked: cannot do soft_cap=5; use flex,"),
        (
            ["attention.kernel=flash", "attention.sinks=true"],
            "attention.kernel=flash: cannot do sinks=true; use sdpa, flex or naive",
        ),
        (["attention.kernel=flex", "attention.head_dim=8"], "takes heads of 16 channels at least, and head_dim=8; use"),
        (["attention.kernel=flash", "attention.head_dim=512"], "takes heads of 256 channels at most, and head_dim=512"),
        (["attention.qk_norm_eps=1e-5"], "attention.qk_norm_eps=1e-05: has no use where qk_norm=none; use null"),
        (["attention.qk_norm=heads"], "attention.qk_norm=heads"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(overrides: list[str], said: str):
    with pytest.raises(SpecError) as error:
        options.architecture(*overrides)
    assert said in str(error.value)


def test_flash_refuses_a_position_scheme_that_adds_to_the_scores():
    class SlopesSpec(PositionSpec):
        hook = "bias"

    for kernel, refused in (("flash", True), ("sdpa", False), ("chunked", False), ("flex", False), ("naive", False)):
        spec = options.architecture("attention.window=4", f"attention.kernel={kernel}").attention
        problems = spec.misfits(SlopesSpec())
        assert [problem.key for problem in problems] == (["kernel"] if refused else [])
        assert all("use sdpa, flex or naive" in str(problem) for problem in problems)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_kernels_for_gpus_are_refused_on_a_cpu(kernel: str):
    spec = options.architecture("attention.window=4", f"attention.kernel={kernel}").attention
    if kernel not in ("flex", "flash"):
        spec.check_device("cpu")
        return
    with pytest.raises(SpecError, match=f"kernel={kernel}: trains on CUDA alone.*; use sdpa, chunked"):
        spec.check_device("cpu")
    capped = options.architecture("attention.soft_cap=5", f"attention.kernel={kernel}").attention
    with pytest.raises(SpecError, match="use naive, which can bound the scores there"):
        capped.check_device("cpu")


@pytest.mark.skipif(installed(), reason="flash-attn is installed")
def test_without_its_package_flash_says_what_is_missing():
    spec = options.architecture("attention.kernel=flash").attention
    with pytest.raises(SpecError, match="needs the package flash-attn, which is not installed; pip install"):
        spec.check_device("cuda")
    with pytest.raises(MachineError, match="cannot import flash-attn"):
        load()


def test_flash_reads_packed_sequences_as_one_row_of_documents():
    docs = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 2, 3]])
    found = boundaries(docs)
    assert found.tolist() == [0, 2, 5, 8, 9, 10] and found.dtype == torch.int32


def test_options_are_the_same_spec_with_other_fields():
    specs = {name: options.architecture(f"attention={name}").attention for name in ("gqa", "mha", "mqa", "local")}
    assert {type(spec) for spec in specs.values()} == {GQASpec}
    sizes = {name: getattr(spec, "sizes", None) for name, spec in specs.items()}
    assert sizes == {"gqa": (4, 2, 16), "mha": (4, 4, 16), "mqa": (4, 1, 16), "local": (4, 2, 16)}
    assert getattr(specs["local"], "window", None) == options.CONTEXT // 4
