"""Weighted grouped-query attention: mean-pooled at the start, plain GQA once merged, its scalars learned."""

from __future__ import annotations

import options
import pytest
import torch
from test_model_parts import build
from torch import Tensor, nn

from nanochat.attention.gqa import GQA
from nanochat.attention.wgqa import WGQA

WITH_EXTRAS = ("attention.qk_norm=head", "attention.sinks=true", "attention.window=9")


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def attention(*overrides: str) -> nn.Module:
    return build(*overrides).get_submodule("blocks.0.attention")


def weighted(*overrides: str, trained: bool) -> WGQA:
    """With two groups; `trained`: the scalars no longer where they start."""
    module = attention("attention=wgqa", "attention.kv_heads=2", *overrides)
    assert isinstance(module, WGQA)
    if trained:
        with torch.no_grad():
            module.w_k.add_(0.5 * randn(module.heads, seed=1))
            module.w_v.add_(0.5 * randn(module.heads, seed=2))
    return module


def plain_with(module: WGQA, k_weight: Tensor, v_weight: Tensor, *overrides: str) -> GQA:
    """The GQA that has these projections, and everything else of `module`."""
    plain = attention("attention=gqa", "attention.kv_heads=2", *overrides)
    assert type(plain) is GQA
    weights = {name: value for name, value in module.state_dict().items() if name not in ("w_k", "w_v")}
    plain.load_state_dict(weights | {"k_proj.weight": k_weight, "v_proj.weight": v_weight})
    return plain


def test_at_the_start_it_is_gqa_of_the_mean_keys_and_values():
    module, x = weighted(trained=False), randn(2, 32, 64, seed=3)
    k_mean, v_mean = (
        projection.weight.detach().view(2, 2, 16, 64).mean(dim=1).flatten(0, 1)
        for projection in (module.k_proj, module.v_proj)
    )
    torch.testing.assert_close(module(x)[0], plain_with(module, k_mean, v_mean)(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("extras", [(), WITH_EXTRAS], ids=["plain", "with extras"])
@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
def test_merged_it_is_plain_gqa(kernel: str, extras: tuple[str, ...]):
    """Also token by token, the state being that of GQA."""
    extras = (*extras, f"attention.kernel={kernel}")
    module, x = weighted(*extras, trained=True), randn(2, 32, 64, seed=3)
    k_weight, v_weight = module.merged()
    plain = plain_with(module, k_weight, v_weight, *extras)
    torch.testing.assert_close(module(x)[0], plain(x)[0], rtol=1e-5, atol=1e-6)
    states, outputs = [None, None], []
    for t in range(20, 24):
        for i, attend in enumerate((module, plain)):
            y, states[i] = attend(x[:, t : t + 1], state=states[i])
            outputs.append(y)
    torch.testing.assert_close(outputs[-2], outputs[-1], rtol=1e-5, atol=1e-6)
    assert states[0] is not None and states[1] is not None
    assert states[0].k.shape == states[1].k.shape


def test_keys_of_a_group_are_the_weighted_sum_of_its_heads():
    module, x = weighted("position=none", trained=True), randn(2, 32, 64, seed=3)
    state = module(x)[1]
    for kept, projection, scalars in ((state.k, module.k_proj, module.w_k), (state.v, module.v_proj, module.w_v)):
        heads = projection(x).view(2, 32, 4, 16)
        for group in range(2):
            first, second = (scalars[i] * heads[:, :, i] for i in (2 * group, 2 * group + 1))
            torch.testing.assert_close(kept[:, group], first + second, rtol=1e-4, atol=1e-5)


def test_scalars_and_all_projections_receive_gradient():
    module = weighted(trained=False)
    module(randn(2, 32, 64, seed=3))[0].square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).all(), name
    assert module.w_k.tolist() == module.w_v.tolist() == [0.5] * 4


def test_one_head_a_group_is_multi_head_attention():
    module = attention("attention=wgqa", "attention.kv_heads=heads")
    x = randn(2, 32, 64, seed=3)
    torch.testing.assert_close(module(x)[0], attention("attention=mha")(x)[0])


def test_it_has_the_parameters_of_multi_head_attention_and_the_state_of_gqa():
    costs = {
        name: options.architecture(f"attention={name}", *rest).attention.cost(options.GEOMETRY)
        for name, rest in (("mha", ()), ("gqa", ("attention.kv_heads=2",)), ("wgqa", ("attention.kv_heads=2",)))
    }
    assert costs["wgqa"].params == costs["mha"].params + 2 * 4
    assert costs["wgqa"].state_bytes == costs["gqa"].state_bytes
    assert costs["wgqa"].flops == costs["gqa"].flops
