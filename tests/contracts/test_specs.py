"""Every option of a model's parts: its YAML, its JSON, its resolution, and what it says to a mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import options
import pytest
import torch

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import canonical_json, dump, load
from nanochat.model.architecture import Architecture
from nanochat.run.spec import run_spec

GROUPS = [(group, name) for group in options.PARTS for name in options.names(group)]


@pytest.mark.parametrize(("group", "name"), GROUPS)
def test_json_and_back_is_the_identity(group: str, name: str):
    architecture = options.architecture(f"{group}={name}", "position=none" if group != "position" else "ffn=mlp")
    again = load(json.loads(canonical_json(architecture)), Architecture)
    assert again == architecture
    assert canonical_json(again) == canonical_json(architecture)


@pytest.mark.parametrize(("group", "name"), GROUPS)
@pytest.mark.parametrize("context", [32, 100, 256, 1000])
def test_resolving_twice_changes_nothing(group: str, name: str, context: int):
    once = options.architecture(f"{group}={name}", context=context)
    assert once.resolve(vocab=options.VOCAB, context=context) == once


@pytest.mark.parametrize("part", [f"{group}={name}" for group in ("attention", "ffn") for name in options.names(group)])
@pytest.mark.parametrize("model", options.names("model"))
def test_defaults_fit_every_size(part: str, model: str):
    architecture = options.architecture(part, f"model={model}", context=256)
    assert architecture.cost(vocab=257, context=256).params > 0


def test_sizes_are_what_their_names_say():
    sizes = [
        options.architecture(f"model={name}", context=256).non_embedding_params(vocab=257, context=256)
        for name in ("nano", "micro", "mini", "small")
    ]
    for size, meant in zip(sizes, (1e5, 1e6, 1e7, 1e8), strict=True):
        assert 0.85 < size / meant < 1.15


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["attention.heads=8", "attention.kv_heads=3"],
            ["attention.kv_heads=3: must divide heads=8; try 1, 2, 4 or 8"],
        ),
        (["attention.heads=5"], ["attention.heads=5: must divide dim=64; try 4 or 8"]),
        (["attention.heads=100"], ["attention.heads=100: must divide dim=64; try 64"]),
        (["attention.kv_heads=some"], ["attention.kv_heads=some: must be a valid integer or 'heads'"]),
        (["attention.kernel=flush"], ["attention.kernel=flush", "'flash' or 'naive'"]),
        (["attention.head_dim=15"], ["attention.head_dim=15: must be a multiple of 2", "try 14 or 16"]),
        (["attention=mla", "attention.qk_rope_head_dim=5"], ["attention.qk_rope_head_dim=5", "try 4 or 6"]),
        (["attention.heads=0"], ["attention.heads=0", "greater than 0"]),
        (["+attention.kvheads=2"], ["attention.kvheads: GQASpec has no such key; did you mean 'kv_heads'?"]),
        (["ffn=moe", "ffn.top_k=9"], ["ffn.top_k=9: must be at most experts=8; try 8"]),
        (["ffn=moe", "ffn.experts=0"], ["ffn.experts=0"]),
        (["ffn=moe", "ffn.shared=-1"], ["ffn.shared=-1"]),
        (["ffn=moe", "ffn.top_k=1", "ffn.renormalize=true"], ["ffn.renormalize=True", "without gradient"]),
        (["ffn=moe", "ffn.expert.hidden=60"], ["ffn.expert.hidden=60: must be a multiple of 8", "try 64"]),
        (["ffn=moe", "ffn@ffn.expert=moe"], ["ffn.expert._target_", "must be a DenseSpec"]),
        (["ffn=mlp", "ffn.activation=tanh"], ["ffn.activation=tanh"]),
        (["norm.eps=0"], ["norm.eps=0"]),
        (["model.dim=0"], ["model.dim=0"]),
        (["attention=sparse", "attention.pattern=local", "attention.vertsize=2"], ["no summary columns; use null"]),
        (["attention=sparse", "attention.blocksize=5"], ["attention.blocksize=5: must divide context=32"]),
        (["attention=sparse", "attention.local_attn_ctx=64"], ["must be at most context=32", "local_attn_ctx=16"]),
        (["attention=sparse", "attention.num_verts=3"], ["attention.num_verts=3: must divide heads=4", "num_verts="]),
    ],
)
def test_a_mistake_names_key_rule_and_remedy(overrides: list[str], said: list[str]):
    with pytest.raises(SpecError) as error:
        options.architecture(*overrides)
    for part in said:
        assert part in str(error.value)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(SpecError) as error:
        options.architecture("attention.kv_heads=3", "ffn=moe", "ffn.top_k=9")
    assert "attention.kv_heads=3" in str(error.value) and "ffn.top_k=9" in str(error.value)


def test_experts_are_chosen_and_changed_on_the_command_line():
    architecture = options.architecture("ffn=moe", "ffn@ffn.expert=mlp", "ffn.expert.hidden=64", "ffn.shared=1")
    data = dump(architecture.ffn)
    assert data["expert"]["_target_"] == "nanochat.ffn.mlp.MLPSpec"
    assert data["expert"]["hidden"] == 64


USERS = """
from typing import Self
import torch
from torch import nn
from nanochat.attention.base import Attention, AttentionSpec
from nanochat.core.geometry import Cost, dense_cost
from nanochat.ffn.dense import DenseSpec, Projection
from typing import NamedTuple

class Seen(NamedTuple):
    total: torch.Tensor
    tokens: torch.Tensor

    @property
    def length(self):
        return int(self.tokens)

class MeanSpec(AttentionSpec):
    scale: float

    def resolve(self, geometry):
        return self

    def cost(self, geometry):
        return dense_cost(geometry.dim ** 2)

    def build(self, geometry, *, position):
        return Mean(geometry.dim, self.scale)

class Mean(Attention):
    def __init__(self, dim, scale):
        super().__init__()
        self.o_proj = nn.Linear(dim, dim, bias=False)
        self.scale = scale

    def forward(self, x, *, state=None, docs=None):
        past = state or Seen(torch.zeros_like(x[:, :1]), torch.tensor(0))
        total = past.total + x.cumsum(1)
        count = torch.arange(1, x.shape[1] + 1)[:, None] + past.tokens
        return self.o_proj(self.scale * total / count), Seen(total[:, -1:], past.tokens + x.shape[1])

class SinSpec(DenseSpec):
    def default_hidden(self, dim):
        return 2 * dim

    def projections(self, dim):
        return {"up": Projection(self.hidden, dim, bias=True), "down": Projection(dim, self.hidden, bias=False)}

    def combine(self, *inputs):
        return inputs[0].sin()
"""


def test_a_component_from_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "users_parts.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_parts", raising=False)
    data = options.config("ffn=moe", "position=none")
    expert = {"_target_": "users_parts.SinSpec", "hidden": None}
    data = {
        **data,
        "attention": {"_target_": "users_parts.MeanSpec", "scale": 1.0},
        "ffn": {**data["ffn"], "expert": expert},
    }
    architecture = load(data, Architecture).resolve(vocab=options.VOCAB, context=options.CONTEXT)
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    tokens = torch.arange(options.CONTEXT)[None] % options.VOCAB
    whole = model(tokens)
    first = model(tokens[:, :20])
    rest = model(tokens[:, 20:], state=first.state)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole.logits, rtol=1e-4, atol=1e-5)
    assert load(json.loads(canonical_json(architecture)), Architecture) == architecture
    params = sum(p.numel() for p in model.parameters())
    assert architecture.cost(vocab=options.VOCAB, context=options.CONTEXT).params == params


def test_an_attention_refuses_a_position_hook_that_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "users_bias.py").write_text(
        "from nanochat.position.base import PositionSpec\nclass BiasSpec(PositionSpec):\n    hook = 'bias'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = {**options.config("attention=mla"), "position": {"_target_": "users_bias.BiasSpec"}}
    with pytest.raises(SpecError, match="attention=mla: does not support the hook 'bias'"):
        load(data, Architecture).resolve(vocab=options.VOCAB, context=options.CONTEXT)


@pytest.mark.parametrize("ffn", [["ffn=moe"], ["ffn=hybrid"]], ids=" ".join)
def test_a_mixture_is_not_compiled_in_fp32(ffn: list[str]):
    """Torch's tracer refuses grouped matmuls in fp32: said before anything is spent, not in a traceback after."""
    part = "ffn.kernel" if ffn == ["ffn=moe"] else "ffn.parts.b.kernel"
    with pytest.raises(SpecError, match=rf"^{part}=grouped: cannot be traced by torch.compile in fp32; use trainer"):
        run_spec(compose([*ffn, "trainer=cpu", "trainer.compile=true"])).resolve()
    assert run_spec(compose(["trainer=cpu", "trainer.compile=true"])).resolve().trainer.compile
