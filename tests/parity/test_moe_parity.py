"""The same weights give the same outputs and gradients as DeepSeek-V3's mixture of experts in `transformers`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_transformers import CONTEXT, DIM, GEOMETRY, compare, near, randomize

from nanochat.ffn.moe import MoESpec
from nanochat.ffn.router import Sigmoid
from nanochat.ffn.swiglu import SwiGLUSpec

EXPERTS, TOP_K, SHARED, HIDDEN = 6, 2, 2, 24


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("kernel", ["grouped", "loop"])
def test_deepseek_v3_mixture(renormalize: bool, kernel: Any):
    """Sigmoid scores, a bias that changes choices, scaled weights, shared experts."""
    pytest.importorskip("transformers")
    from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    spec = MoESpec(
        experts=EXPERTS,
        top_k=TOP_K,
        shared=SHARED,
        expert=SwiGLUSpec(hidden=HIDDEN),
        router="sigmoid",
        renormalize=renormalize,
        gamma=None,
        routed_scaling=2.5,
        noise=None,
        balance_coef=None,
        z_coef=None,
        kernel=kernel,
    )
    moe = spec.resolve(GEOMETRY).build(GEOMETRY)
    config = DeepseekV3Config(
        hidden_size=DIM,
        moe_intermediate_size=HIDDEN,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
        n_shared_experts=SHARED,
        n_group=1,
        topk_group=1,
        norm_topk_prob=renormalize,
        routed_scaling_factor=2.5,
    )
    config._experts_implementation = "eager"
    reference: Any = DeepseekV3MoE(config)
    randomize(moe)
    bias = torch.randn(EXPERTS, generator=torch.Generator().manual_seed(4)) / 4
    gate, up, down = (moe.get_submodule(f"experts.{name}").weight for name in ("gate", "up", "down"))
    assert isinstance(moe.router, Sigmoid) and moe.shared is not None
    names = {name: f"{name}_proj" for name in ("gate", "up", "down")}
    with torch.no_grad():
        moe.router.bias.copy_(bias)
        reference.gate.weight.copy_(moe.router.weight)
        reference.gate.e_score_correction_bias.copy_(bias)
        reference.experts.gate_up_proj.copy_(torch.cat([gate, up], dim=1))
        reference.experts.down_proj.copy_(down)
        for ours, theirs in names.items():
            reference.shared_experts.get_submodule(theirs).weight.copy_(moe.shared.get_submodule(ours).weight)
    x = torch.randn(2, CONTEXT, DIM, generator=torch.Generator().manual_seed(1))
    routing = moe.router(x)
    assert not torch.equal(routing.chosen.sort(-1).values, routing.counted.sort(-1).values), "the bias must matter"
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    compare(moe(mine)[0], reference(yours), {}, None)
    near(mine.grad, yours.grad)
    near(moe.router.weight.grad, reference.gate.weight.grad)
    near(torch.cat([gate.grad, up.grad], dim=1), reference.experts.gate_up_proj.grad)
    near(down.grad, reference.experts.down_proj.grad)
    for ours, theirs in names.items():
        grad = reference.shared_experts.get_submodule(theirs).weight.grad
        near(moe.shared.get_submodule(ours).weight.grad, grad)
