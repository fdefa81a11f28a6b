"""What a mixture of experts promises beyond every FFN's contract."""

from __future__ import annotations

import math
from typing import Any

import options
import pytest
import torch

from nanochat.ffn.dense import Dense
from nanochat.ffn.moe import MoE, MoESpec, Routing, load_per_sequence, switch_balance

GEOMETRY = options.GEOMETRY


def moe(*overrides: str) -> tuple[MoESpec, MoE]:
    spec = options.architecture("ffn=moe", *overrides).ffn
    assert isinstance(spec, MoESpec)
    torch.manual_seed(0)
    return spec, spec.build(GEOMETRY)


def inputs(batch: int = 3, time: int = 16) -> torch.Tensor:
    return torch.randn(batch, time, GEOMETRY.dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("expert", ["swiglu", "mlp"])
@pytest.mark.parametrize("kernel", ["grouped", "loop"])
def test_one_expert_is_the_dense_ffn(expert: str, kernel: str):
    spec, module = moe("ffn.experts=1", "ffn.top_k=1", f"ffn@ffn.expert={expert}", f"ffn.kernel={kernel}")
    dense = spec.expert.build(GEOMETRY)
    dense.load_state_dict({name: value[0] for name, value in module.experts.state_dict().items()})
    y, aux = module(inputs())
    torch.testing.assert_close(y, dense(inputs())[0], rtol=1e-5, atol=1e-6)
    assert aux.metrics["load_entropy"] == 1 and aux.metrics["max_violation"] == 0


@pytest.mark.parametrize("kernel", ["grouped", "loop"])
def test_the_order_of_experts_does_not_matter(kernel: str):
    _, module = moe(f"ffn.kernel={kernel}")
    before, aux = module(inputs())
    order = torch.randperm(8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for parameter in (module.router.weight, *module.experts.parameters()):
            parameter.copy_(parameter[order].clone())
    after, aux_after = module(inputs())
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(aux_after.loss, aux.loss)


@pytest.mark.parametrize("kernel", ["grouped", "loop"])
def test_experts_without_any_token_are_fine(kernel: str):
    _, module = moe(f"ffn.kernel={kernel}", "ffn.experts=16")
    x = inputs(batch=1, time=2)
    y, aux = module(x)
    (y.square().sum() + aux.loss.sum()).backward()
    assert y.isfinite().all()
    for parameter in module.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_shared_experts_are_added_for_every_token():
    spec, module = moe("ffn.shared=2")
    assert isinstance(module.shared, Dense)
    assert module.shared.get_submodule("up").weight.shape[0] == 2 * (spec.expert.hidden or 0)
    y, _ = module(inputs())
    shared, module.shared = module.shared, None
    torch.testing.assert_close(y, module(inputs())[0] + shared(inputs())[0])


def test_losses_are_per_sequence():
    """So that accumulating micro-batches is the large batch."""
    _, module = moe()
    whole = module(inputs())[1].loss
    parts = torch.cat([module(x[None])[1].loss for x in inputs()])
    torch.testing.assert_close(whole, parts)


def routing(chosen: list[list[int]], *, experts: int) -> Routing:
    index = torch.tensor(chosen)[None]
    logits = torch.zeros(1, index.shape[1], experts)
    return Routing(index, torch.ones(index.shape), logits, logits.softmax(-1))


def test_balance_and_metrics_by_hand():
    _, module = moe("ffn.experts=4", "ffn.balance_coef=1", "ffn.z_coef=0")
    even = module.aux(routing([[0, 1], [2, 3]], experts=4))
    assert even.loss is not None
    assert even.loss.tolist() == pytest.approx([1.0])
    assert even.metrics["load_entropy"].item() == pytest.approx(1) and even.metrics["max_violation"].item() == 0
    uneven = module.aux(routing([[0, 1], [0, 1]], experts=4))
    assert uneven.metrics["load_entropy"].item() == pytest.approx(math.log(2) / math.log(4))
    assert uneven.metrics["max_violation"].item() == pytest.approx(1)
    load = load_per_sequence(torch.tensor([[[0, 1], [0, 2]]]), experts=4)
    assert load.tolist() == [[0.5, 0.25, 0.25, 0]]
    assert switch_balance(load, torch.tensor([[0.4, 0.3, 0.2, 0.1]])).item() == pytest.approx(4 * 0.325)
    _, module = moe("ffn.experts=4", "ffn.balance_coef=0", "ffn.z_coef=0.5")
    loss = module.aux(routing([[0, 1]], experts=4)).loss
    assert loss is not None and loss.item() == pytest.approx(0.5 * math.log(4) ** 2)


@pytest.mark.parametrize(
    ("overrides", "hidden"),
    [
        (["ffn.top_k=1"], 168),
        (["ffn.top_k=2"], 88),  # 168 / 2 = 84, halfway goes up
        (["ffn.top_k=2", "ffn.shared=1"], 56),
        (["ffn.top_k=2", "ffn@ffn.expert=mlp"], 128),
        (["ffn.top_k=2", "ffn.expert.hidden=24"], 24),
    ],
)
def test_the_width_of_an_expert(overrides: list[str], hidden: int):
    assert moe(*overrides)[0].expert.hidden == hidden


@pytest.mark.parametrize(("top_k", "expected"), [(1, False), (2, True)])
def test_weights_sum_to_one_where_they_are_renormalized(top_k: int, expected: bool):
    spec, module = moe(f"ffn.top_k={top_k}")
    assert spec.renormalize is expected
    total = module.route(inputs()).weights.sum(-1)
    assert torch.allclose(total, torch.ones(())) is expected


def test_the_router_stays_in_fp32_under_autocast():
    _, module = moe()
    plain = module.route(inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half: Any = module.route(inputs())
    assert half.logits.dtype == torch.float32
    assert torch.equal(half.chosen, plain.chosen) and torch.equal(half.weights, plain.weights)
