"""What dense FFNs learn beside their matrices, and FFNs that differ from block to block."""

from __future__ import annotations

import math

import options
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from nanochat.core.errors import SpecError
from nanochat.core.roles import roles
from nanochat.core.spec import dump
from nanochat.ffn.dense import Dense
from nanochat.ffn.geglu import GEGLUSpec
from nanochat.ffn.mlp import MLPSpec, learned_gelu
from nanochat.ffn.moe import MoE
from nanochat.optimizer.base import parameter_groups
from tests.runs import small

GEOMETRY = options.GEOMETRY


@given(st.floats(-4, 4), st.floats(-2, 2), st.floats(-2, 2))
def test_learned_gelu_is_its_definition(x: float, slope: float, shift: float):
    expected = x * (1 + math.erf((slope * x + shift) / 2**0.5)) / 2
    found = learned_gelu(torch.tensor([x]), torch.tensor([slope]), torch.tensor([shift]))
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_learned_gelu_starts_as_gelu():
    dense = MLPSpec(hidden=24, activation="learned_gelu", bias=False).build(GEOMETRY)
    plain = MLPSpec(hidden=24, activation="gelu", bias=False).build(GEOMETRY)
    plain.load_state_dict({k: v for k, v in dense.state_dict().items() if k not in ("slope", "shift")})
    x = torch.randn(2, 5, GEOMETRY.dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dense(x)[0], plain(x)[0])


def test_learned_gelu_has_exact_gradients():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    channels = [torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(learned_gelu, (x, *channels))


def test_what_is_learned_per_channel_does_not_decay():
    architecture = options.architecture("ffn=mlp", "ffn.activation=learned_gelu")
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    channels = {name: p for name, p in model.named_parameters() if name.endswith(("slope", "shift"))}
    assert len(channels) == 4 and all(roles(model)[name] == "vector" for name in channels)


def test_no_optimizer_group_decays_channels_of_experts(tmp_path):
    spec, _ = small(tmp_path, "ffn=moe", "ffn@ffn.expert=mlp", "ffn.expert.activation=learned_gelu")
    model = spec.architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    groups = parameter_groups(model, optimizer=spec.optimizer, weight_decay=0.1, width=1.0)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert "blocks.0.ffn.experts.up.weight" in names
    assert not any(name.endswith(("slope", "shift")) for name in names)


def test_geglu_is_its_formula():
    spec = GEGLUSpec(hidden=None).resolve(GEOMETRY)
    assert spec.hidden == 168
    module = spec.build(GEOMETRY)
    x = torch.randn(2, 5, GEOMETRY.dim, generator=torch.Generator().manual_seed(0))
    gate, up, down = (module.get_submodule(name).weight for name in ("gate", "up", "down"))
    torch.testing.assert_close(module(x)[0], (F.gelu(x @ gate.T) * (x @ up.T)) @ down.T, rtol=1e-5, atol=1e-6)


def test_a_hybrid_gives_each_block_its_part():
    overrides = ("ffn=hybrid", "ffn.pattern=[a, a, b]", "model.depth=5", "ffn@ffn.parts.a=mlp", "ffn.parts.a.hidden=40")
    architecture = options.architecture(*overrides)
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    ffns = [model.get_submodule(f"blocks.{layer}.ffn") for layer in range(5)]
    assert [type(ffn) for ffn in ffns] == [Dense, Dense, MoE, Dense, Dense]
    cost = architecture.cost(vocab=options.VOCAB, context=options.CONTEXT)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert ffns[0].get_submodule("up").weight.shape == (40, architecture.model.width)


def test_parts_of_a_hybrid_are_chosen_and_changed_on_the_command_line():
    chosen = (
        "ffn@ffn.parts.a=geglu",
        "ffn@ffn.parts.b.expert=mlp",
        "ffn.parts.b.top_k=1",
        "ffn.parts.b.expert.bias=true",
    )
    data = dump(options.architecture("ffn=hybrid", *chosen).ffn)
    assert data["parts"]["a"]["_target_"] == "nanochat.ffn.geglu.GEGLUSpec"
    assert data["parts"]["b"]["top_k"] == 1
    assert data["parts"]["b"]["expert"] == {
        "_target_": "nanochat.ffn.mlp.MLPSpec",
        "hidden": 256,
        "activation": "gelu",
        "bias": True,
    }


def test_a_hybrid_may_have_other_parts():
    architecture = options.architecture("ffn=hybrid", "+ffn@ffn.parts.c=mlp", "ffn.pattern=[c, a, b]", "model.depth=3")
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    assert isinstance(model.get_submodule("blocks.2.ffn"), MoE)
    assert model.get_submodule("blocks.0.ffn.up").weight.shape == (
        4 * architecture.model.width,
        architecture.model.width,
    )


def test_a_hybrid_of_one_part_is_that_part():
    """Bit for bit: weights are drawn by their names."""
    plain = options.architecture("ffn=swiglu")
    hybrid = options.architecture("ffn=hybrid", "ffn@ffn.parts.b=swiglu")
    tokens = torch.arange(64).view(2, 32) % options.VOCAB
    models = [a.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1) for a in (plain, hybrid)]
    assert torch.equal(models[0](tokens).logits, models[1](tokens).logits)
    costs = [a.cost(vocab=options.VOCAB, context=options.CONTEXT) for a in (plain, hybrid)]
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["ffn.pattern=[a, c]"], ["ffn.pattern=[a, c]: must name parts", "the parts are a or b"]),
        (["ffn.pattern=[]"], ["ffn.pattern=[]: must name parts"]),
        (["ffn.pattern=[a]"], ["ffn.pattern=[a]: leaves part b without any of the 2 blocks"]),
        (["ffn.parts.b.top_k=9"], ["ffn.parts.b.top_k=9: must be at most experts=8"]),
        (["ffn.parts.b.expert.hidden=60"], ["ffn.parts.b.expert.hidden=60: must be a multiple of 8"]),
        (["ffn.parts.b.router=expert_choice"], ["ffn.parts.b.router=expert_choice: reads the future"]),
        (
            ["ffn@ffn.parts.a=moe", "ffn.parts.a.top_k=9", "ffn.parts.b.gamma=1"],
            ["ffn.parts.a.top_k=9", "ffn.parts.b.gamma=1.0: has no effect"],
        ),
    ],
)
def test_a_mistake_in_a_hybrid_is_named_under_its_part(overrides: list[str], said: list[str]):
    with pytest.raises(SpecError) as error:
        options.architecture("ffn=hybrid", *overrides)
    for part in said:
        assert part in str(error.value)
