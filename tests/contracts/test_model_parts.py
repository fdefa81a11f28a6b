"""What every attention, position, FFN and norm promises, held for each option that conf/ offers."""

from __future__ import annotations

import itertools

import options
import pytest
import torch
from torch import Tensor

from nanochat.core.errors import SpecError
from nanochat.model.transformer import Transformer

VOCAB, CONTEXT = options.VOCAB, options.CONTEXT
# Schemes that act on the embedding never meet the attention: two stand for all.
EMBEDDED = ("learned", "sinusoidal")
PAIRS = [
    (attention, position)
    for attention, position in itertools.product(options.names("attention"), options.names("position"))
    if (attention, position) not in options.refusals() and (position not in EMBEDDED or attention in ("gqa", "linear"))
]
MODELS = [
    *[(f"attention={a}", f"position={p}") for a, p in PAIRS],
    *[(f"ffn={name}",) for name in options.names("ffn")],
    *[("norm=layernorm", f"norm.placement={placement}") for placement in ("pre", "post", "sandwich")],
    ("norm.placement=post", "norm.final=false"),
    ("norm=layernorm", "norm.bias=false", "norm.final=false", "model.tied=false"),
    ("norm.placement=sandwich", "position.nope_every=2", "position.interleaved=true"),
    *[("attention=sparse", f"attention.pattern={kind}") for kind in ("strided", "local")],
    ("attention=linear", "attention.chunk=5", "attention.qk_heads=2", "attention.v_head_dim=24", "attention.conv=3"),
    ("attention=hybrid", "attention.pattern=[b, a]", "attention.parts.a.chunk=8", "attention.parts.b.kv_heads=1"),
    ("attention=bottleneck", "attention.bottleneck_dim=24", "attention@attention.inner=linear"),
    ("attention=nsa", "attention.kv_heads=1", "attention.selected=3"),
    ("attention=nsa", "attention.compress_block=6", "attention.select_block=8", "attention.window=1"),
    ("attention=mla", "attention.q_lora_rank=24"),
    ("attention=mla", "attention.v_head_dim=40"),
    ("attention.kv_heads=1", "position.interleaved=true"),
    ("attention.head_dim=24",),
    ("attention.qk_norm=head", "attention.sinks=true", "model.value_embeddings=all"),
    ("attention.qk_norm=vector", "attention.window=5"),
    ("attention=local", "attention.qk_norm=plain", "attention.window=7", "attention.sinks=true"),
    ("attention=local", "attention.window=1"),
    ("attention=wgqa", "attention.kv_heads=2", "attention.qk_norm=head", "model.value_embeddings=alternate"),
    ("model.tied=false", "ffn=mlp", "ffn.bias=true", "ffn.activation=relu2"),
    ("ffn=moe", "ffn.shared=2", "ffn.top_k=1", "ffn@ffn.expert=mlp", "ffn.expert.bias=true"),
    ("ffn=mlp", "ffn.activation=learned_gelu"),
    ("ffn=moe", "ffn.router=sigmoid", "ffn.shared=1", "ffn@ffn.expert=mlp", "ffn.expert.activation=learned_gelu"),
    ("ffn=moe", "ffn.router=gumbel", "ffn@ffn.expert=geglu"),
    ("ffn=hybrid", "ffn.pattern=[b, a]", "ffn@ffn.parts.a=geglu", "ffn.parts.b.router=sigmoid"),
]


def build(*overrides: str, seed: int = 1) -> Transformer:
    """In evaluation mode: noise in training has tests of its own."""
    return options.architecture(*overrides).build(vocab=VOCAB, context=CONTEXT, seed=seed).eval()


def random_tokens(batch: int = 2, time: int = CONTEXT, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def loss_of(model: Transformer, tokens: Tensor) -> Tensor:
    output = model(tokens)
    loss = torch.nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    return loss if output.aux.loss is None else loss + output.aux.loss.mean()


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_shapes_and_causality(overrides: tuple[str, ...]):
    model, tokens = build(*overrides), random_tokens()
    output = model(tokens)
    assert output.logits.shape == (2, CONTEXT, VOCAB) and output.logits.dtype == torch.float32
    assert output.aux.loss is None or output.aux.loss.shape == (2,)
    assert len(output.state) == 2 and all(state.length == CONTEXT for state in output.state)
    for changed in (0, 13, CONTEXT - 1):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] + 1) % VOCAB
        logits = model(other).logits
        torch.testing.assert_close(logits[:, :changed], output.logits[:, :changed], rtol=0, atol=1e-6)
        assert not torch.allclose(logits[:, changed], output.logits[:, changed], atol=1e-4)


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
@pytest.mark.parametrize("cuts", [(1,), (CONTEXT - 1,), (9, 10, 11, 25)], ids=str)
def test_prefill_and_steps_equal_the_full_forward(overrides: tuple[str, ...], cuts: tuple[int, ...]):
    model, tokens = build(*overrides), random_tokens()
    state, parts = None, []
    with torch.no_grad():
        for start, end in itertools.pairwise((0, *cuts, CONTEXT)):
            output = model(tokens[:, start:end], state=state)
            state = output.state
            parts.append(output.logits)
        # Outputs of linear attention of 3e-4 (q·k ≈ 0) are brought to one by its norm, and their rounding with them.
        atol = 5e-5 if "attention=linear" in overrides else 1e-5
        torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens).logits, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_packed_documents_equal_separate_ones(overrides: tuple[str, ...]):
    model, tokens = build(*overrides), random_tokens()
    docs = torch.tensor([[0] * 7 + [1] * 15 + [2] * 10, [4] * 20 + [9] * 12])
    with torch.no_grad():
        packed = model(tokens, docs=docs).logits
        for row, start, end in ((0, 0, 7), (0, 7, 22), (0, 22, 32), (1, 0, 20), (1, 20, 32)):
            alone = model(tokens[row : row + 1, start:end]).logits
            torch.testing.assert_close(packed[row : row + 1, start:end], alone, rtol=1e-4, atol=1e-5)


def test_the_pairs_of_attention_and_position_that_are_refused():
    """By name, and with what the attention supports instead."""
    refused = options.refusals()
    assert set(refused) == {("mla", "alibi"), ("nsa", "alibi")}
    for attention, position in refused:
        said = f"attention={attention}: does not support the hook 'bias', through which position={position} works; "
        with pytest.raises(SpecError, match=f"^{said}it supports embed, rotate$"):
            options.architecture(f"attention={attention}", f"position={position}")


@pytest.mark.parametrize("attention", options.names("attention"))
def test_a_document_that_comes_twice_sees_no_future(attention: str):
    model, tokens = build(f"attention={attention}"), random_tokens()
    docs = torch.tensor([[3] * 10 + [4] * 4 + [3] * 18] * 2)
    other = tokens.clone()
    other[:, 14:] = (other[:, 14:] + 1) % VOCAB
    with torch.no_grad():
        before, after = (model(t, docs=docs).logits[:, :14] for t in (tokens, other))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


# The kernels to compare, by what names the attention; the last that applies counts, the first always does.
ATTENTION_TWINS = {
    "": ("attention.kernel", "sdpa", "naive"),
    "attention=local": ("attention.kernel", "chunked", "naive"),
    "attention=linear": ("attention.kernel", "chunked", "recurrent"),
    "attention=hybrid": ("attention.parts.a.kernel", "chunked", "recurrent"),
    "attention=bottleneck": ("attention.inner.kernel", "sdpa", "naive"),
    "attention@attention.inner=linear": ("attention.inner.kernel", "chunked", "recurrent"),
}


def attention_twin(overrides: tuple[str, ...]) -> tuple[str, str, str]:
    return [twin for option, twin in ATTENTION_TWINS.items() if option in ("", *overrides)][-1]


TWINS = [
    *[(m, *attention_twin(m)) for m in MODELS if not any("ffn" in part for part in m)],
    *[(m, "ffn.kernel", "grouped", "loop") for m in MODELS if "ffn=moe" in m],
    *[(m, "ffn.parts.b.kernel", "grouped", "loop") for m in MODELS if "ffn=hybrid" in m],
]


@pytest.mark.parametrize(
    ("overrides", "field", "fast", "slow"), TWINS, ids=lambda v: v if isinstance(v, str) else " ".join(v)
)
@pytest.mark.parametrize("packed", [False, True], ids=["one document", "packed"])
def test_the_fast_path_equals_the_naive_one(overrides, field: str, fast: str, slow: str, packed: bool):
    tokens = random_tokens()
    docs = torch.tensor([[0] * 13 + [1] * 19, [0] * 5 + [1] * 27]) if packed else None
    models = [build(*overrides, f"{field}={kernel}") for kernel in (fast, slow)]
    outputs = [model(tokens, docs=docs).logits for model in models]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    weight = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(3))
    for output in outputs:
        (output * weight).mean().backward()
    for (name, fast_p), slow_p in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert fast_p.grad is not None and slow_p.grad is not None, name
        torch.testing.assert_close(fast_p.grad, slow_p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(overrides: tuple[str, ...]):
    model = build(*overrides)
    loss_of(model, random_tokens(batch=4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_half_precision_autocast_trains_and_stays_near(overrides: tuple[str, ...]):
    model, tokens = build(*overrides), random_tokens()
    full = loss_of(model, tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss_of(model, tokens)
    half.backward()
    assert abs(half.item() - full.item()) < 0.05
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_a_model_is_a_function_of_spec_and_seed_and_survives_saving(overrides: tuple[str, ...], tmp_path):
    torch.manual_seed(5)
    first = build(*overrides)
    outside = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), outside), "building must not draw from the caller's generator"
    second, other, tokens = build(*overrides), build(*overrides, seed=2), random_tokens()
    assert torch.equal(first(tokens).logits, second(tokens).logits)
    assert not torch.allclose(first(tokens).logits, other(tokens).logits, atol=1e-3)
    torch.save(first.state_dict(), tmp_path / "model.pt")
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert torch.equal(first(tokens).logits, other(tokens).logits)
