"""`attention=linear` is the Gated DeltaNet of Qwen3-Next in `transformers`: same weights, outputs and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange
from test_transformers import compare, near, randomize
from torch import Tensor

from nanochat.attention.linear import Linear, LinearSpec
from nanochat.core.geometry import Geometry
from nanochat.position.base import Position

DIM, HEADS, CONTEXT = 32, 4, 24


def interleaved(linear: Linear, part: str) -> tuple[Tensor, Tensor]:
    """Our six projections as their two, group by group of the memories that share a key; `part` is data or grad."""
    groups = linear.sizes.qk_heads

    def rows(*names: str) -> Tensor:
        weights = [getattr(linear.get_submodule(name).weight, part) for name in names]
        return torch.cat([rearrange(w, "(g r) d -> g r d", g=groups) for w in weights], dim=1).flatten(0, 1)

    return rows("q_proj", "k_proj", "v_proj", "g_proj"), rows("b_proj", "a_proj")


@pytest.mark.parametrize("kernel", ["chunked", "recurrent"])
@pytest.mark.parametrize("qk_heads", [1, 2, 4])
def test_gated_delta_net(kernel: Any, qk_heads: int):
    pytest.importorskip("transformers")
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen
    from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig

    config = Qwen3NextConfig(
        hidden_size=DIM,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
        linear_num_value_heads=HEADS,
        linear_num_key_heads=qk_heads,
        linear_key_head_dim=6,
        linear_value_head_dim=10,
        linear_conv_kernel_dim=4,
        rms_norm_eps=1e-6,
    )
    reference: Any = qwen.Qwen3NextGatedDeltaNet(config, layer_idx=0)
    spec = LinearSpec(heads=HEADS, qk_heads=qk_heads, qk_head_dim=6, v_head_dim=10, conv=4, chunk=7, kernel=kernel)
    geometry = Geometry(dim=DIM, depth=1, layer=0, vocab=50, context=CONTEXT)
    linear = spec.resolve(geometry).build(geometry, position=Position())
    randomize(linear)
    with torch.no_grad():
        linear.A_log -= 3  # so that memories last over many chunks
    same: dict[str, Any] = {
        "A_log": linear.A_log,
        "dt_bias": linear.dt_bias,
        "norm.weight": linear.o_norm.weight,
        "out_proj.weight": linear.o_proj.weight,
    }
    qkvz, ba = interleaved(linear, "data")
    weights = {"in_proj_qkvz.weight": qkvz, "in_proj_ba.weight": ba, "conv1d.weight": linear.conv.weight[:, None]}
    reference.load_state_dict({**weights, **same})
    x = torch.randn(2, CONTEXT, DIM, generator=torch.Generator().manual_seed(1))
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    compare(linear(mine)[0], reference(yours), {}, None)
    near(mine.grad, yours.grad)
    theirs = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for ours, name in zip(interleaved(linear, "grad"), ("in_proj_qkvz.weight", "in_proj_ba.weight"), strict=True):
        near(ours, theirs[name])
    assert linear.conv.weight.grad is not None
    near(linear.conv.weight.grad[:, None], theirs["conv1d.weight"])
    for name, parameter in same.items():
        near(parameter.grad, theirs[name])
    assert len(theirs) == len(same) + 3
