"""Norms, positions, dense FFNs and initial weights, each against its definition."""

from __future__ import annotations

import math
from functools import partial

import options
import pytest
import torch

from nanochat.attention import mla as mla_file
from nanochat.attention.masked import causal, document_positions, naive_attention, visible
from nanochat.core.roles import roles
from nanochat.ffn import dense
from nanochat.ffn.dense import DenseSpec
from nanochat.model.block import Block
from nanochat.norm import layernorm, rmsnorm
from nanochat.position import rope


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rmsnorm_is_its_definition():
    module = rmsnorm.RMSNormSpec(eps=1e-6, placement="pre", final=True).build(24)
    with torch.no_grad():
        module.weight.copy_(randn(24, seed=1))
    x, twin = randn(3, 5, 24).requires_grad_(), randn(3, 5, 24).requires_grad_()
    y, expected = module(x), rmsnorm.naive(twin, module.weight, eps=1e-6)
    torch.testing.assert_close(y, expected)
    (y * randn(3, 5, 24, seed=2)).sum().backward()
    (expected * randn(3, 5, 24, seed=2)).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-6)
    assert module(torch.zeros(24)).abs().max() == 0


@pytest.mark.parametrize("bias", [True, False])
def test_layernorm_is_its_definition_and_that_of_torch(bias: bool):
    module = layernorm.LayerNormSpec(eps=1e-2, bias=bias, placement="pre", final=True).build(24)
    peer = torch.nn.LayerNorm(24, eps=1e-2, bias=bias)
    assert (module.bias is not None) == bias
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(randn(24, seed=i + 1))
    peer.load_state_dict(module.state_dict())
    x = randn(3, 5, 24) + 2
    inputs = [x.clone().requires_grad_() for _ in range(3)]
    outputs = [
        module(inputs[0]),
        layernorm.naive(inputs[1], module.weight, module.bias, eps=1e-2),
        peer(inputs[2]),
    ]
    for output, one in zip(outputs, inputs, strict=True):
        torch.testing.assert_close(output, outputs[0], rtol=1e-4, atol=1e-6)
        (output * randn(3, 5, 24, seed=9)).sum().backward()
        torch.testing.assert_close(one.grad, inputs[0].grad, rtol=1e-4, atol=1e-6)
    shift = module.bias if module.bias is not None else torch.zeros(24)
    torch.testing.assert_close(module(torch.full((24,), 3.0)), shift)


@pytest.mark.parametrize("name", options.names("norm"))
def test_where_the_norms_of_a_block_stand(name: str):
    """Each placement as the paper that it comes from writes it, with norms that are not alike."""
    tokens = torch.arange(20)[None] % options.VOCAB
    for placement in ("pre", "post", "sandwich"):
        model = options.architecture(f"norm={name}", f"norm.placement={placement}", "norm.final=false").build(
            vocab=options.VOCAB, context=options.CONTEXT, seed=1
        )
        with torch.no_grad():
            for i, (inner, parameter) in enumerate(model.named_parameters()):
                if "norms" in inner:
                    parameter.add_(randn(*parameter.shape, seed=i) / 4)
        x = model.embedding(tokens)
        for block in model.blocks:
            assert isinstance(block, Block)
            for norms, branch in ((block.attention_norms, block.attention), (block.ffn_norms, block.ffn)):
                if placement == "pre":
                    x = x + branch(norms.inner(x))[0]
                elif placement == "post":
                    x = norms.outer(x + branch(x)[0])
                else:
                    x = x + norms.outer(branch(norms.inner(x))[0])
        torch.testing.assert_close(model(tokens).logits, x @ model.embedding.weight.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("offset", [0, 7])
def test_rope_is_its_definition(interleaved: bool, offset: int):
    position = rope.RopeSpec(theta=100.0, interleaved=interleaved, nope_every=None).build(options.GEOMETRY)
    q, k = randn(2, 4, 9, 12), randn(2, 1, 9, 12, seed=1)
    for fast, x in zip(position.rotate(q, k, offset=offset), (q, k), strict=True):
        expected = rope.naive(x, theta=100.0, offset=offset, interleaved=interleaved)
        torch.testing.assert_close(fast, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(fast.norm(dim=-1), x.norm(dim=-1))


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_depends_on_distance_alone(interleaved: bool):
    position = rope.RopeSpec(theta=10000.0, interleaved=interleaved, nope_every=None).build(options.GEOMETRY)
    q, k = randn(1, 6, 16), randn(1, 6, 16, seed=1)
    scores = []
    for offset in (0, 50):
        turned_q, turned_k = position.rotate(q, k, offset=offset)
        scores.append(turned_q @ turned_k.transpose(-2, -1))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(scores[0], q @ k.transpose(-2, -1), atol=1e-2)


@pytest.mark.parametrize(
    "overrides",
    [
        ("ffn=swiglu",),
        ("ffn=geglu",),
        *[("ffn=mlp", f"ffn.activation={name}") for name in ("gelu", "relu", "relu2", "silu", "learned_gelu")],
        ("ffn=mlp", "ffn.bias=true"),
    ],
    ids=" ".join,
)
def test_a_dense_ffn_is_its_definition(overrides: tuple[str, ...]):
    spec = options.architecture(*overrides).ffn
    assert isinstance(spec, DenseSpec)
    module = spec.build(options.GEOMETRY)
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(randn(*parameter.shape, seed=i) / 8)
    x = randn(2, 5, options.GEOMETRY.dim)
    y, aux = module(x)
    torch.testing.assert_close(y, dense.naive(spec, x, module.state_dict()), rtol=1e-4, atol=1e-5)
    assert aux.loss is None and aux.metrics == {}


def test_the_mlp_activations():
    x = torch.tensor([-2.0, 0.5, 3.0])
    expected = {
        "gelu": [v * (1 + math.erf(v / 2**0.5)) / 2 for v in x.tolist()],
        "relu": [0, 0.5, 3],
        "relu2": [0, 0.25, 9],
        "silu": [v / (1 + math.exp(-v)) for v in x.tolist()],
    }
    for name, values in expected.items():
        spec = options.architecture("ffn=mlp", f"ffn.activation={name}").ffn
        assert isinstance(spec, DenseSpec)
        assert spec.combine(x).tolist() == pytest.approx(values, rel=1e-5)


def test_mla_absorbed_equals_expanded_with_gradients():
    spec = options.architecture("attention=mla").attention
    module = spec.build(options.GEOMETRY, position=options.architecture().position.build(options.GEOMETRY))
    assert isinstance(module, mla_file.MLA)
    weight, grads, outputs = randn(2, 4, 10, 16, seed=1), [], []
    for form in (partial(mla_file.expanded, module, docs=None), partial(mla_file.absorbed, module)):
        x = randn(2, 10, 64).requires_grad_()
        q, state = module.project(x, offset=0)
        y = form(q, state)
        module.zero_grad()
        (y * weight).sum().backward()
        outputs.append(y)
        grads.append([x.grad, *(p.grad for p in module.parameters() if p.grad is not None)])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-5)


def test_naive_attention_by_hand():
    """One query of two keys with equal scores averages what it may see."""
    q, k, v = torch.zeros(1, 1, 2, 4), randn(1, 1, 2, 4), torch.tensor([[[[1.0], [3.0]]]])
    y = naive_attention(q, k, v, allowed=visible(causal, q_len=2, k_len=2), scale=1.0)
    assert y.flatten().tolist() == [1.0, 2.0]


def test_positions_begin_anew_in_every_document():
    docs = torch.tensor([[5, 5, 5, 2, 2, 5], [1, 1, 1, 1, 1, 1]])
    assert document_positions(docs).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]


def test_truncated_normal_weights():
    model = options.architecture("model.dim=256", "ffn=moe").build(vocab=64, context=32, seed=3)
    role_of = roles(model)
    for name, parameter in model.named_parameters():
        if role_of[name] != "vector":
            std = parameter.shape[-1] ** -0.5
            assert parameter.abs().max() <= 3 * std * 1.0001, name
            assert parameter.std().item() == pytest.approx(0.987 * std, rel=0.05), name
        else:
            assert (parameter == 1).all(), name


def test_arms_that_share_a_parameter_start_it_alike():
    options_of = [
        ("attention=gqa", "ffn=swiglu"),
        ("attention=mha", "ffn=moe"),
        ("attention=mla", "model.depth=3", "model.dim=64"),
    ]
    models = [dict(options.architecture(*o).build(vocab=61, context=32, seed=1).named_parameters()) for o in options_of]
    assert torch.equal(models[0]["embedding.weight"], models[2]["embedding.weight"])
    name = "blocks.1.attention.q_proj.weight"
    assert torch.equal(models[0][name], models[1][name])
    assert not torch.equal(models[0][name], models[0]["blocks.0.attention.q_proj.weight"])
    name = "blocks.1.ffn.up.weight"
    assert torch.equal(models[0][name], models[2][name])
