"""Attentions made of others: a pattern over blocks, and a bottleneck around one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import options
import pytest
import torch
from test_model_parts import build, random_tokens

from nanochat.core.errors import SpecError
from nanochat.core.roles import roles
from nanochat.core.spec import load
from nanochat.model.architecture import Architecture

USERS = """
import torch
from torch import nn
from nanochat.attention.gqa import GQASpec
from nanochat.core.errors import spec_error
from nanochat.core.geometry import dense_cost
from nanochat.position.base import Position, PositionSpec

class GateSpec(PositionSpec):
    hook = "rotate"

    def build(self, geometry):
        return Gate()

    def cost(self, geometry):
        return dense_cost(1, lookups=1)

class Gate(Position):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def rotate(self, q, k, *, offset):
        return q * self.gain, k

class BiasSpec(PositionSpec):
    hook = "bias"

class OnlyCudaSpec(GQASpec):
    def check_device(self, device):
        if device != "cuda":
            raise spec_error("kernel", self.kernel, "needs cuda")
"""


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts from a file of one's own."""
    (tmp_path / "users_hybrid.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)


def resolved(data: dict[str, Any]) -> Architecture:
    return load(data, Architecture).resolve(vocab=options.VOCAB, context=options.CONTEXT)


def said(*overrides: str) -> str:
    with pytest.raises(SpecError) as error:
        options.architecture(*overrides)
    return str(error.value)


def test_the_pattern_gives_each_block_its_part_and_begins_again():
    model = build("attention=hybrid", "model.depth=5", "attention.pattern=[b, a, a]")
    kinds = [type(block.get_submodule("attention")).__name__ for block in model.blocks]
    assert kinds == ["GQA", "Linear", "Linear", "GQA", "Linear"]


def test_parts_are_chosen_and_changed_on_the_command_line():
    spec: Any = options.architecture(
        "attention=hybrid", "attention@attention.parts.a=mla", "attention.parts.b.kv_heads=1"
    ).attention
    assert type(spec.parts["a"]).__name__ == "MLASpec" and spec.parts["b"].kv_heads == 1


def test_a_mistake_in_any_part_is_told_under_its_key():
    text = said("attention=hybrid", "attention.parts.a.qk_heads=3", "attention.parts.b.kv_heads=3")
    assert "attention.parts.a.qk_heads=3: must divide heads=4" in text
    assert "attention.parts.b.kv_heads=3: must divide heads=4" in text


@pytest.mark.parametrize(
    ("pattern", "rule"), [("[]", "must name parts"), ("[a, c]", "must name parts"), ("[b]", "leaves part a without")]
)
def test_a_pattern_names_every_part_and_nothing_else(pattern: str, rule: str):
    text = said("attention=hybrid", f"attention.pattern={pattern}")
    assert "attention.pattern=" in text and rule in text


@pytest.mark.parametrize("inside", [[], ["attention@attention.parts.a.inner=hybrid"]], ids=["itself", "bottleneck"])
def test_a_pattern_within_a_pattern_is_refused(inside: list[str]):
    part = "bottleneck" if inside else "hybrid"
    text = said("attention=hybrid", f"attention@attention.parts.a={part}", *inside)
    assert f"attention.parts.a={part}: is a pattern of its own" in text


def test_positions_stay_where_one_part_has_a_use_for_them():
    assert type(options.architecture("attention=hybrid").position).__name__ == "RopeSpec"
    both = options.architecture("attention=hybrid", "attention@attention.parts.b=linear")
    assert type(both.position).__name__ == "NoneSpec"


def test_a_position_that_one_part_cannot_serve_is_refused_under_its_key(users):
    data = options.config("attention=hybrid", "attention@attention.parts.b=mla")
    with pytest.raises(SpecError, match=r"attention\.parts\.b=mla: does not support the hook 'bias'"):
        resolved({**data, "position": {"_target_": "users_hybrid.BiasSpec"}})
    data = options.config("attention=bottleneck", "attention@attention.inner=mla")
    with pytest.raises(SpecError, match=r"attention\.inner=mla: does not support the hook 'bias'"):
        resolved({**data, "position": {"_target_": "users_hybrid.BiasSpec"}})
    with pytest.raises(SpecError, match=r"attention\.parts\.b\.head_dim=15: must be a multiple of 2"):
        options.architecture("attention=hybrid", "attention.parts.b.head_dim=15")


@pytest.mark.parametrize(
    "overrides",
    [
        ("attention=hybrid",),
        ("attention=bottleneck", "attention@attention.inner=hybrid"),
        ("attention=bottleneck",),
    ],
    ids=" ".join,
)
def test_a_position_counts_in_the_blocks_that_use_it(users, overrides: tuple[str, ...]):
    data = {**options.config(*overrides, "model.depth=3"), "position": {"_target_": "users_hybrid.GateSpec"}}
    architecture = resolved(data)
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    cost = architecture.cost(vocab=options.VOCAB, context=options.CONTEXT)
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    gains = sum(name.endswith("gain") for name, _ in model.named_parameters())
    assert gains == (3 if overrides == ("attention=bottleneck",) else 1)


def test_a_device_that_one_part_cannot_use_is_refused_under_its_key(users):
    for overrides, at in (
        (("attention=hybrid",), ("parts", "b")),
        (("attention=bottleneck", "attention@attention.inner=gqa"), ("inner",)),
    ):
        data = options.config(*overrides)
        part = data["attention"] = {**data["attention"]}
        for key in at:
            part[key] = {**part[key]}
            part = part[key]
        part["_target_"] = "users_hybrid.OnlyCudaSpec"
        attention = resolved(data).attention
        attention.check_device("cuda")
        with pytest.raises(SpecError) as error:
            attention.check_device("cpu")
        assert str(error.value) == f"{'.'.join(at)}.kernel=sdpa: needs cuda"


def test_each_block_takes_value_embeddings_as_its_part_does():
    spec = options.architecture("attention=hybrid", "attention.parts.a.v_head_dim=24").attention
    geometry = options.GEOMETRY
    assert spec.value_width(geometry) == 4 * 24
    inside = options.architecture("attention=bottleneck", "attention@attention.inner=linear").attention
    assert inside.value_width(geometry) == 32


def test_only_the_way_out_of_the_bottleneck_writes_to_the_residual_stream():
    model = build("attention=bottleneck")
    attends = {name: role for name, role in roles(model).items() if "blocks.0.attention." in name}
    assert [name for name, role in attends.items() if role == "residual"] == ["blocks.0.attention.up.weight"]
    assert attends["blocks.0.attention.inner.o_proj.weight"] == "hidden"


def test_the_inner_attention_is_that_of_a_narrower_model():
    """With the identity on its channels around it, a bottleneck is its inner attention."""
    attention = build("attention=bottleneck", "attention.bottleneck_dim=48").get_submodule("blocks.0.attention")
    x = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name in ("down", "up"):
            attention.get_parameter(f"{name}.weight").copy_(
                torch.eye(64)[:48] if name == "down" else torch.eye(64)[:, :48]
            )
        y = attention(x)[0]
        expected = attention.get_submodule("inner")(x[..., :48])[0]
    assert torch.equal(y[..., :48], expected) and not y[..., 48:].any()


@pytest.mark.parametrize("width", [64, 100])
def test_a_bottleneck_is_narrower_than_the_stream(width: int):
    text = said("attention=bottleneck", f"attention.bottleneck_dim={width}")
    assert f"attention.bottleneck_dim={width}: must be less than dim=64; try 32" in text


def test_a_mistake_inside_a_bottleneck_is_told_under_its_key():
    text = said("attention=bottleneck", "attention.bottleneck_dim=30", "attention.inner.heads=4")
    assert "attention.inner.heads=4: must divide dim=30" in text


def test_a_bottleneck_decodes_by_its_inner_state():
    model, tokens = build("attention=bottleneck", "attention@attention.inner=linear"), random_tokens()
    with torch.no_grad():
        state = model(tokens).state[0]
    assert type(state).__name__ == "Memory" and state.length == options.CONTEXT
