"""Initial weights: what every option owes, and each against its definition."""

from __future__ import annotations

import math
from typing import Any

import options
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nanochat.core.errors import SpecError
from nanochat.core.roles import Role, roles
from nanochat.core.spec import load
from nanochat.init.base import InitSpec, Parametrization, generator_of
from nanochat.init.mup import MuPSpec
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import Transformer
from nanochat.optimizer.adamw import AdamWSpec

NAMES = options.names("init")
SETTINGS = [
    *[(f"init={name}",) for name in NAMES],
    ("init=xavier", "init.distribution=uniform"),
    ("init=zero_out", "init.head=true"),
]
PARTS = ("ffn=moe", "model.value_embeddings=all")
ADAM = AdamWSpec(beta1=0.9, beta2=0.95, eps=1e-12, weight_decay=0.0)


def build(*overrides: str, seed: int = 1) -> Transformer:
    return options.architecture(*overrides).build(vocab=options.VOCAB, context=options.CONTEXT, seed=seed)


def drawn(name: str, *shape: int, role: Role = "hidden", depth: int = 2, **fields: Any) -> Tensor:
    """One weight as the option draws it."""
    data = options.config(f"init={name}")["init"]
    values = torch.empty(shape)
    spec = load({**data, **fields}, InitSpec)
    spec.draw(values, role=role, depth=depth, generator=generator_of(1, "w"))
    return values


def std(values: Tensor) -> Any:
    """The standard deviation, to be compared within what thousands of draws leave open."""
    return pytest.approx(values.std().item(), rel=0.03)


def cut_std(cut: float) -> float:
    """The standard deviation of a standard normal that is cut at ±`cut`."""
    density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
    return (1 - 2 * cut * density / math.erf(cut / 2**0.5)) ** 0.5


def tokens() -> Tensor:
    return torch.randint(options.VOCAB, (4, options.CONTEXT), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("overrides", SETTINGS, ids=" ".join)
def test_weights_follow_from_the_seed_alone(overrides):
    one, same, other = (build(*overrides, *PARTS, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("overrides", SETTINGS, ids=" ".join)
def test_vectors_keep_what_their_modules_set(overrides):
    architecture = options.architecture(*overrides, *PARTS)
    model = architecture.assemble(vocab=options.VOCAB, context=options.CONTEXT)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    architecture.init.apply(model, seed=1, depth=2)
    for name, role in roles(model).items():
        assert torch.equal(model.get_parameter(name), before[name]) == (role == "vector"), name


@pytest.mark.parametrize("overrides", SETTINGS, ids=" ".join)
def test_the_first_prediction_is_moderate(overrides):
    """At most a nat worse than knowing nothing: no logits that a run would first have to unlearn."""
    read = tokens()
    logits = build(*overrides, *PARTS)(read[:, :-1]).logits
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), read[:, 1:].flatten())
    assert loss.item() < math.log(options.VOCAB) + 1


@pytest.mark.parametrize("overrides", SETTINGS, ids=" ".join)
def test_three_updates_reach_every_weight(overrides):
    """Where weights start at zero, those behind them have no gradient at first; training must get there yet."""
    architecture = options.architecture(*overrides, "model.value_embeddings=all", "norm.placement=sandwich")
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = ADAM.build(model, width=architecture.init.parametrization(architecture.model.width).width)
    read, losses = tokens(), []
    for _ in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * group["factor"]
        loss = nn.functional.cross_entropy(model(read[:, :-1]).logits.flatten(0, 1), read[:, 1:].flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[0]
    for name, p in model.named_parameters():
        assert torch.isfinite(p).all(), name
        assert not torch.equal(p, before[name]), name


@given(gain=st.floats(0.1, 10), cut=st.floats(0.5, 4), fan_in=st.integers(4, 300))
def test_a_truncated_normal_is_cut_and_as_wide_as_it_says(gain, cut, fan_in):
    values = drawn("truncated_normal", 20_000 // fan_in, fan_in, gain=gain, cut=cut)
    assert values.abs().max() <= cut * gain / fan_in**0.5 * 1.0001
    assert values.std().item() == pytest.approx(cut_std(cut) * gain / fan_in**0.5, rel=0.05)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("shape", [(48, 400), (400, 48), (3, 48, 200)])
def test_xavier_divides_by_the_mean_of_both_fans(distribution, shape):
    """Stacked experts as each one alone."""
    values = drawn("xavier", *shape, distribution=distribution, gain=2.0)
    expected = 2.0 * (2 / (shape[-1] + shape[-2])) ** 0.5
    assert expected == std(values)
    if distribution == "uniform":
        assert 0.99 * 3**0.5 * expected < values.abs().max() <= 3**0.5 * expected
    else:
        assert values.abs().max() > 3 * expected


def test_xavier_embeddings_are_as_long_as_elsewhere():
    rows = drawn("xavier", 1000, 64, role="embedding")
    assert std(rows) == 64**-0.5
    assert std(drawn("xavier", 1000, 64, role="head")) == (2 / (1000 + 64)) ** 0.5


@pytest.mark.parametrize("role", ["embedding", "hidden", "residual", "head"])
@pytest.mark.parametrize("depth", [1, 8])
def test_gpt2_scales_what_is_added_to_the_stream(role, depth):
    values = drawn("gpt2", 100, 300, role=role, depth=depth)
    assert (0.02 / (2 * depth) ** 0.5 if role == "residual" else 0.02) == std(values)


def test_gpt2_starts_the_sum_of_all_branches_as_one():
    """In the model: 2·depth residual projections together have the variance of one plain matrix."""
    model = build("init=gpt2", "model.depth=6", "model.dim=128")
    role_of = roles(model)
    residual = [p for name, p in model.named_parameters() if role_of[name] == "residual"]
    assert len(residual) == 12
    assert sum(p.var().item() for p in residual) == pytest.approx(0.02**2, rel=0.03)


@pytest.mark.parametrize("ffn", options.names("ffn"))
def test_zeroed_blocks_are_the_identity(ffn):
    model = build("init=zero_out", f"ffn={ffn}", "model.depth=3")
    read = tokens()
    assert torch.equal(model(read).stream, model.embedding(read))
    assert all(p.any() for name, p in model.named_parameters() if roles(model)[name] != "residual")


def test_a_zeroed_head_predicts_uniformly():
    assert not build("init=zero_out", "init.head=true")(tokens()).logits.any()
    assert build("init=zero_out", "init.head=false")(tokens()).logits.any()


def test_what_is_not_zeroed_is_a_truncated_normal():
    assert torch.equal(drawn("zero_out", 7, 9), drawn("truncated_normal", 7, 9))


@pytest.mark.parametrize("name", ["mup", "zero_out"])
def test_some_need_a_head_of_their_own(name):
    said = rf"model\.tied=True: init={name} needs a head of its own; use model\.tied=false"
    with pytest.raises(SpecError, match=said):
        options.architecture(f"init={name}", "model.tied=true")


@given(dim=st.integers(1, 4096), base=st.integers(1, 4096))
def test_the_width_of_mup_is_a_ratio(dim, base):
    found = MuPSpec(base_dim=base, gain=1.0, cut=3.0).parametrization(dim)
    assert found == Parametrization(width=dim / base, head_power=1.0)


@pytest.mark.parametrize("dim", [64, 256])
def test_mup_weights_by_role(dim):
    """Table 8: embeddings as wide as at the base, hidden matrices by their fan-in, the head zero."""
    model = build("init=mup", "init.base_dim=32", "init.gain=1.5", f"model.dim={dim}", "ffn=moe")
    for name, role in roles(model).items():
        values = model.get_parameter(name)
        if role == "head":
            assert not values.any()
        elif role != "vector":
            fan = 32 if role == "embedding" else values.shape[-1]
            assert values.std().item() == pytest.approx(cut_std(3.0) * 1.5 / fan**0.5, rel=0.1), name


@pytest.mark.parametrize("attention", [name for name in options.names("attention") if name in ("gqa", "mla")])
def test_at_its_base_width_mup_differs_in_head_and_scores_alone(attention):
    given_ = ("model.dim=64", "model.tied=false", f"attention={attention}")
    plain, mup = build(*given_), build(*given_, "init=mup", "init.base_dim=64")
    for name, values in plain.named_parameters():
        assert torch.equal(mup.get_parameter(name), values) == (name != "head.weight"), name
    assert mup.logit_scale == plain.logit_scale == 1
    with torch.no_grad():
        mup.get_parameter("head.weight").copy_(plain.get_parameter("head.weight"))
    assert not torch.allclose(mup(tokens()).logits, plain(tokens()).logits, atol=1e-4)


def test_every_option_but_mup_keeps_the_standard_parametrisation():
    for name in set(NAMES) - {"mup"}:
        spec = load(options.config(f"init={name}"), Architecture).init
        assert spec.parametrization(512) == Parametrization(width=1.0, head_power=0.5), name


def test_filters_too_depend_on_nothing_but_seed_name_and_shape():
    """A convolution's taps, whatever is built before it; and on every init option alike."""
    name = "blocks.1.attention.conv.weight"
    words = [("ffn=swiglu",), ("ffn=mlp",), ("ffn=moe", "model.depth=3", "model.dim=64"), ("init=gpt2",)]
    found = [dict(build("attention=linear", *w).named_parameters())[name] for w in words]
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert found[0].abs().max() <= found[0].shape[-1] ** -0.5 and found[0].std() > 0
