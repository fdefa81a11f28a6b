"""What a mixture of experts promises beyond every FFN's contract."""

from __future__ import annotations

import math
from pathlib import Path

import options
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model

from nanochat.core.errors import SpecError
from nanochat.core.noise import key_noise
from nanochat.core.roles import roles
from nanochat.ffn.balance import SHOWN, balance_loss, load_metrics, load_per_sequence, tokens_per_expert
from nanochat.ffn.dense import Dense
from nanochat.ffn.experts import Experts
from nanochat.ffn.mlp import MLPSpec
from nanochat.ffn.moe import MoE, MoESpec
from nanochat.ffn.router import Gumbel, Router, Routing, Sigmoid

GEOMETRY = options.GEOMETRY
ROUTERS = ("softmax", "sigmoid", "gumbel")
EXPERTS = (
    ("ffn@ffn.expert=swiglu",),
    ("ffn@ffn.expert=geglu",),
    ("ffn@ffn.expert=mlp", "ffn.expert.bias=true"),
    ("ffn@ffn.expert=mlp", "ffn.expert.activation=learned_gelu"),
)
every_router = pytest.mark.parametrize("router", ROUTERS)
every_expert = pytest.mark.parametrize("expert", EXPERTS, ids=" ".join)
every_kernel = pytest.mark.parametrize("kernel", ["grouped", "loop"])


def moe(*overrides: str) -> tuple[MoESpec, MoE]:
    """In training mode. Vectors are random, so that none is at a value where it has no effect."""
    spec = options.architecture("ffn=moe", *overrides).ffn
    assert isinstance(spec, MoESpec)
    torch.manual_seed(0)
    module = spec.build(GEOMETRY)
    with torch.no_grad():
        for name, role in roles(module).items():
            if role == "vector":
                module.get_parameter(name).normal_()
        if isinstance(module.router, Sigmoid):
            module.router.bias.normal_(std=0.3)
    key_noise(module, seed=1, step=0, sequences=range(3))
    return spec, module


def inputs(batch: int = 3, time: int = 16) -> torch.Tensor:
    return torch.randn(batch, time, GEOMETRY.dim, generator=torch.Generator().manual_seed(1))


@every_router
@every_expert
def test_the_grouped_kernel_equals_the_loop(router: str, expert: tuple[str, ...]):
    modules = [moe(f"ffn.router={router}", *expert, f"ffn.kernel={kernel}")[1] for kernel in ("grouped", "loop")]
    x, weight = inputs(), torch.randn(3, 16, GEOMETRY.dim, generator=torch.Generator().manual_seed(2))
    outputs = [module(x)[0] for module in modules]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    for y in outputs:
        (y * weight).mean().backward()
    for (name, grouped), loop in zip(modules[0].named_parameters(), modules[1].parameters(), strict=True):
        assert grouped.grad is not None and loop.grad is not None and loop.grad.any(), name
        torch.testing.assert_close(grouped.grad, loop.grad, rtol=1e-4, atol=1e-6)


@given(st.data(), st.integers(1, 9), st.integers(1, 12))
def test_any_choice_of_experts_gives_what_each_of_them_gives(data: st.DataObject, experts: int, tokens: int):
    top_k = data.draw(st.integers(1, experts))
    rows = st.permutations(range(experts)).map(lambda order: order[:top_k])
    chosen = torch.tensor(data.draw(st.lists(rows, min_size=tokens, max_size=tokens)))
    spec = MLPSpec(hidden=8, activation="learned_gelu", bias=True)
    module = Experts(spec, dim=16, experts=experts)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    x, weights = torch.randn(tokens, 16, generator=generator), torch.rand(tokens, top_k, generator=generator)
    dense = Dense(spec, dim=16)
    expected = torch.zeros_like(x)
    for token, slot in torch.cartesian_prod(torch.arange(tokens), torch.arange(top_k)):
        dense.load_state_dict({name: value[chosen[token, slot]] for name, value in module.state_dict().items()})
        expected[token] += weights[token, slot] * dense(x[token][None, None])[0][0, 0].detach()
    for run in (module.grouped, module.loop):
        torch.testing.assert_close(run(x, chosen, weights), expected, rtol=1e-4, atol=1e-5)


@every_router
@every_expert
@every_kernel
def test_one_expert_is_the_dense_ffn(router: str, expert: tuple[str, ...], kernel: str):
    one = ("ffn.experts=1", "ffn.top_k=1", "ffn.renormalize=true")
    spec, module = moe(f"ffn.router={router}", *one, *expert, f"ffn.kernel={kernel}")
    dense = spec.expert.build(GEOMETRY)
    dense.load_state_dict({name: value[0] for name, value in module.experts.state_dict().items()})
    torch.testing.assert_close(module(inputs())[0], dense(inputs())[0], rtol=1e-5, atol=1e-6)
    metrics = module.after_step()
    assert metrics["load_entropy"] == 1 and metrics["max_violation"] == 0 and metrics["dead_experts"] == 0


@every_router
@every_expert
@every_kernel
def test_the_order_of_experts_does_not_matter(router: str, expert: tuple[str, ...], kernel: str):
    _, module = moe(f"ffn.router={router}", *expert, f"ffn.kernel={kernel}")
    module.eval()
    before, aux = module(inputs())
    order = torch.randperm(8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for tensor in (*module.router.parameters(), *module.router.buffers(), *module.experts.parameters()):
            tensor.copy_(tensor[order].clone())
    after, aux_after = module(inputs())
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(aux_after.loss, aux.loss)


@every_router
@every_expert
def test_upcycling_preserves_the_function(router: str, expert: tuple[str, ...]):
    """Where every expert is the dense FFN and weights sum to one, routing cannot matter (2212.05055)."""
    spec, module = moe(f"ffn.router={router}", *expert, "ffn.expert.hidden=168")
    assert spec.renormalize
    dense = spec.expert.build(GEOMETRY)
    with torch.no_grad():
        for name, value in dense.named_parameters():
            module.experts.get_parameter(name).copy_(value.expand(8, *value.shape))
    torch.testing.assert_close(module(inputs())[0], dense(inputs())[0], rtol=1e-5, atol=1e-6)


@every_router
@every_kernel
def test_experts_without_any_token_are_fine(router: str, kernel: str):
    _, module = moe(f"ffn.router={router}", f"ffn.kernel={kernel}", "ffn.experts=16")
    key_noise(module, seed=1, step=0, sequences=range(1))
    y, aux = module(inputs(batch=1, time=2))
    (y.square().sum() + aux.loss.sum()).backward()
    assert y.isfinite().all()
    for parameter in module.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    assert module.after_step()["dead_experts"] >= 0.75


def test_shared_experts_are_added_for_every_token():
    spec, module = moe("ffn.shared=2")
    assert isinstance(module.shared, Dense)
    assert module.shared.get_submodule("up").weight.shape[0] == 2 * (spec.expert.hidden or 0)
    y, _ = module(inputs())
    shared, module.shared = module.shared, None
    torch.testing.assert_close(y, module(inputs())[0] + shared(inputs())[0])


@every_router
def test_micro_batches_are_the_large_batch(router: str):
    """Outputs, losses and noise belong to sequences; metrics and the bias's move to the whole batch."""
    results = []
    for parts in ([0, 1, 2],), ([0], [1, 2]), ([0], [1], [2]):
        _, module = moe(f"ffn.router={router}")
        outputs, losses = [], []
        for sequences in parts:
            key_noise(module, seed=1, step=4, sequences=sequences)
            y, aux = module(inputs()[sequences])
            outputs.append(y)
            losses.append(aux.loss)
        metrics = module.after_step()
        results.append([torch.cat(outputs), torch.cat(losses), metrics, list(module.router.buffers())])
    for other in results[1:]:
        torch.testing.assert_close(other[:2], results[0][:2], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other[2:], results[0][2:], rtol=0, atol=0)


@every_router
def test_evaluation_does_not_count(router: str):
    _, module = moe(f"ffn.router={router}")
    module.eval()(inputs())
    assert not module.counts.any()
    module.train()(inputs())
    assert module.counts.sum() == 3 * 16 * 2
    module.after_step()
    assert not module.counts.any()


@every_router
def test_what_a_router_decides_in_training_depends_on_no_later_token(router: str):
    _, module = moe(f"ffn.router={router}")
    x = inputs()
    changed = torch.cat([x[:, :9], -x[:, 9:]], dim=1)
    before = module(x)[0]
    key_noise(module, seed=1, step=0, sequences=range(3))
    after = module(changed)[0]
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(before[:, 9:], after[:, 9:], atol=1e-3)


def test_the_bias_chooses_and_weighs_nothing():
    """Scores of a half for all: the bias alone chooses, the weights are the clean scores, scaled."""
    router = Sigmoid(dim=4, experts=4, top_k=2, renormalize=True, gamma=0.1, routed_scaling=2.5)
    with torch.no_grad():
        router.weight.zero_()
        router.bias.copy_(torch.tensor([0.0, 0.3, -0.2, 0.1]))
    routing = router(torch.randn(1, 3, 4))
    assert routing.chosen.sort(dim=-1).values.tolist() == [[[1, 3]] * 3]
    torch.testing.assert_close(routing.weights, torch.full((1, 3, 2), 1.25))
    router.renormalize = False
    torch.testing.assert_close(router(torch.randn(1, 3, 4)).weights, torch.full((1, 3, 2), 1.25))


def test_the_bias_of_an_overloaded_expert_falls():
    _, module = moe("ffn.router=sigmoid", "ffn.experts=4", "ffn.gamma=0.01")
    assert isinstance(module.router, Sigmoid)
    before = module.router.bias.clone()
    module.counts.copy_(torch.tensor([9, 5, 5, 1]))
    module.after_step()
    torch.testing.assert_close(module.router.bias - before, torch.tensor([-0.01, 0.0, 0.0, 0.01]))


def test_the_bias_brings_balance():
    """With no loss and no gradient, repeated steps on one batch even out the load."""
    _, module = moe("ffn.router=sigmoid", "ffn.balance_coef=0", "ffn.gamma=0.02")
    violations = []
    for _ in range(200):
        module(inputs())
        violations.append(module.after_step()["max_violation"].item())
    assert sum(violations[-20:]) / 20 < 0.5 * violations[0]


def test_saving_keeps_the_bias_and_no_counts(tmp_path: Path):
    _, module = moe("ffn.router=sigmoid")
    module(inputs())
    assert [name for name, _ in module.named_buffers() if name in module.state_dict()] == ["router.bias"]
    save_model(module, str(tmp_path / "moe.safetensors"))
    _, other = moe("ffn.router=sigmoid")
    assert isinstance(module.router, Sigmoid) and isinstance(other.router, Sigmoid)
    other.router.bias.zero_()
    load_model(other, str(tmp_path / "moe.safetensors"))
    assert torch.equal(other.router.bias, module.router.bias)


def test_noise_of_scale_one_draws_from_the_softmax():
    """Gumbel-max: the first choice of a token falls on an expert as often as its probability says."""
    router = Gumbel(dim=4, experts=4, top_k=1, renormalize=False, noise=1.0)
    key_noise(router, seed=0, step=0, sequences=range(8))
    x = torch.randn(4, generator=torch.Generator().manual_seed(3)).mul(3).expand(8, 2000, 4)
    routing = router(x)
    drawn = tokens_per_expert(routing.chosen, experts=4).sum(0) / 16000
    torch.testing.assert_close(drawn, routing.probabilities[0, 0], rtol=0, atol=0.015)
    assert drawn.max() < 0.95, "or the noise would show nothing"


def test_noise_is_there_in_training_alone_and_weights_are_without():
    _, module = moe("ffn.router=gumbel", "ffn.noise=3")
    noisy = module.router(inputs())
    clean = module.eval().router(inputs())
    assert not torch.equal(noisy.chosen, clean.chosen)
    assert torch.equal(noisy.logits, clean.logits)
    picked = clean.probabilities.gather(-1, noisy.chosen)
    torch.testing.assert_close(noisy.weights, picked / picked.sum(-1, keepdim=True))
    key_noise(module.train(), seed=1, step=1, sequences=range(3))
    assert not torch.equal(module.router(inputs()).chosen, noisy.chosen), "every step has noise of its own"


def routing(chosen: list[list[int]], *, experts: int) -> Routing:
    index = torch.tensor(chosen)[None]
    logits = torch.zeros(1, index.shape[1], experts)
    return Routing(index, torch.ones(index.shape), index, logits, logits.softmax(-1))


def test_losses_by_hand():
    _, module = moe("ffn.experts=4", "ffn.balance_coef=1", "ffn.z_coef=0")
    aux = module.aux(routing([[0, 1], [2, 3]], experts=4))
    assert aux.loss is not None and aux.loss.tolist() == pytest.approx([1.0])
    assert aux.metrics["router_entropy"].item() == pytest.approx(1)
    load = load_per_sequence(torch.tensor([[[0, 1], [0, 2]]]), experts=4)
    assert load.tolist() == [[0.5, 0.25, 0.25, 0]]
    assert balance_loss(load, torch.tensor([[0.4, 0.3, 0.2, 0.1]])).item() == pytest.approx(4 * 0.325)
    _, module = moe("ffn.experts=4", "ffn.balance_coef=0", "ffn.z_coef=0.5")
    loss = module.aux(routing([[0, 1]], experts=4)).loss
    assert loss is not None and loss.item() == pytest.approx(0.5 * math.log(4) ** 2)


def test_the_sigmoid_balance_loss_is_that_of_deepseek_v3():
    """Equations 17 to 20, sum by sum; what the bias chose does not enter."""
    _, module = moe("ffn.router=sigmoid", "ffn.balance_coef=1")
    logits = module.router(inputs()).logits
    for sequence, loss in zip(logits, module(inputs())[1].loss, strict=True):
        scores = sequence.sigmoid()
        expected = 0.0
        for expert in range(8):
            preferred = sum(1 for s in scores if s[expert] in s.topk(2).values)
            f = 8 / (2 * len(scores)) * preferred
            p = sum((s[expert] / s.sum()).item() for s in scores) / len(scores)
            expected += f * p
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_load_metrics_by_hand():
    even = load_metrics(torch.tensor([5, 5, 5, 5]))
    assert even["load_entropy"].item() == pytest.approx(1)
    assert even["max_violation"].item() == even["dead_experts"].item() == 0
    uneven = load_metrics(torch.tensor([6, 6, 0, 0]))
    assert uneven["load_entropy"].item() == pytest.approx(math.log(2) / math.log(4))
    assert uneven["max_violation"].item() == pytest.approx(1) and uneven["dead_experts"].item() == 0.5
    assert uneven["expert_share"].tolist() == [0.5, 0.5, 0, 0]
    assert load_metrics(torch.tensor([6, 5, 1, 0]))["dead_experts"].item() == 0.25
    assert "expert_share" in load_metrics(torch.ones(SHOWN, dtype=torch.int64))
    assert "expert_share" not in load_metrics(torch.ones(SHOWN + 1, dtype=torch.int64))


def test_a_model_reports_every_expert_of_every_block():
    """And in a hybrid those blocks alone that have experts."""
    model = options.architecture("ffn=hybrid", "ffn.pattern=[a, b]").build(
        vocab=options.VOCAB, context=options.CONTEXT, seed=1
    )
    model(torch.arange(64).view(2, 32) % options.VOCAB)
    metrics = model.after_step()
    shares = [f"expert_share.1.{expert}" for expert in range(8)]
    assert set(metrics) == {"load_entropy", "max_violation", "dead_experts", *shares}
    assert sum(metrics[name].item() for name in shares) == pytest.approx(1)


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


@every_router
@pytest.mark.parametrize(("top_k", "expected"), [(1, False), (2, True)])
def test_weights_sum_to_one_where_they_are_renormalized(router: str, top_k: int, expected: bool):
    spec, module = moe(f"ffn.router={router}", f"ffn.top_k={top_k}")
    assert spec.renormalize is expected
    total = module.router(inputs()).weights.sum(-1)
    assert torch.allclose(total, torch.ones(())) is expected


@every_router
def test_the_router_stays_in_fp32_under_autocast(router: str):
    _, module = moe(f"ffn.router={router}")
    plain: Routing = module.router(inputs())
    key_noise(module, seed=1, step=0, sequences=range(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half: Routing = module.router(inputs())
    assert all(field.dtype == torch.float32 for field in (half.logits, half.weights, half.probabilities))
    assert all(torch.equal(a, b) for a, b in zip(plain, half, strict=True))


def test_what_learned_experts_learn_per_channel_does_not_decay():
    _, module = moe("ffn@ffn.expert=mlp", "ffn.expert.activation=learned_gelu")
    role_of = roles(module)
    assert role_of["experts.slope"] == role_of["experts.shift"] == "vector"
    assert role_of["experts.up.weight"] == "hidden" and role_of["experts.down.weight"] == "residual"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["ffn.router=expert_choice"], ["ffn.router=expert_choice: reads the future", "softmax, sigmoid or gumbel"]),
        (["ffn.router=soft"], ["ffn.router=soft: reads the future"]),
        (["ffn.router=hash"], ["ffn.router=hash: must be 'softmax', 'sigmoid' or 'gumbel'"]),
        (["+ffn.capacity_factor=1.25"], ["ffn.capacity_factor=1.25: would drop a token because of what others"]),
        (["ffn.gamma=0.001"], ["ffn.gamma=0.001: has no effect with router=softmax; use null, or router=sigmoid"]),
        (
            ["ffn.router=sigmoid", "ffn.z_coef=0.001"],
            ["ffn.z_coef=0.001", "null, or router=softmax or router=gumbel"],
        ),
        (["ffn.router=sigmoid", "ffn.noise=1"], ["ffn.noise=1.0: has no effect with router=sigmoid"]),
        (["ffn.routed_scaling=2", "ffn.noise=1"], ["ffn.routed_scaling=2.0: has no", "ffn.noise=1.0: has no effect"]),
        (["ffn.router=gumbel", "ffn.noise=0"], ["ffn.noise=0", "greater than 0"]),
    ],
)
def test_a_mistake_names_key_rule_and_remedy(overrides: list[str], said: list[str]):
    with pytest.raises(SpecError) as error:
        moe(*overrides)
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("router", "expected"),
    [
        ("softmax", {"balance_coef": 0.01, "z_coef": 0.001}),
        ("sigmoid", {"balance_coef": 0.0001, "gamma": 0.001, "routed_scaling": 1.0}),
        ("gumbel", {"balance_coef": 0.01, "z_coef": 0.001, "noise": 1.0}),
    ],
)
def test_what_null_stands_for_depends_on_the_router(router: str, expected: dict[str, float]):
    spec, _ = moe(f"ffn.router={router}")
    names = ("gamma", "routed_scaling", "noise", "balance_coef", "z_coef")
    assert {name: getattr(spec, name) for name in names if getattr(spec, name) is not None} == expected


class Same(Router):
    """Sends every token to expert `self.expert`."""

    expert = 0

    def route(self, logits: torch.Tensor) -> Routing:
        chosen = torch.full((*logits.shape[:2], 1), self.expert)
        return Routing(chosen, torch.ones(chosen.shape), chosen, logits, logits.softmax(-1))


def one_of_two(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    _, module = moe("ffn.experts=4", "ffn.top_k=1")
    module.router = Same(dim=GEOMETRY.dim, experts=4, top_k=1, renormalize=False)
    module.router.expert = rank
    module(inputs(time=10 * (rank + 1)))
    torch.save(module.after_step()["expert_share"], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_loads_are_those_of_all_devices(tmp_path: Path):
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)  # pyright: ignore
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), torch.tensor([1 / 3, 2 / 3, 0, 0]))
