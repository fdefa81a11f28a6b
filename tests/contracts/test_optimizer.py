"""Optimizers: what decays, what does not, and AdamW against its own definition."""

from __future__ import annotations

import options
import pytest
import torch
from torch import Tensor, nn

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import load
from nanochat.model.transformer import Transformer
from nanochat.optimizer.adamw import AdamWSpec
from nanochat.optimizer.base import DECAYED, OptimizerSpec, parameter_groups

NAMES = options.names("optimizer")

MODELS = {
    "tied": ("model.tied=true",),
    "untied": ("model.tied=false",),
    "biased": ("ffn=mlp", "ffn.bias=true"),
    "moe": ("ffn=moe", "ffn.shared=1"),
    "biased experts": ("ffn=moe", "ffn@ffn.expert=mlp", "ffn.expert.bias=true"),
    "mla": ("attention=mla", "attention.q_lora_rank=16"),
}


def build(*overrides: str) -> Transformer:
    return options.architecture(*overrides).build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)


def optimizer_spec(name: str, **changes: float) -> OptimizerSpec:
    return load({**compose([f"optimizer={name}"])["optimizer"], **changes}, OptimizerSpec)


def groups_by_name(model: nn.Module) -> tuple[set[str], set[str]]:
    """The names of what decays and of what does not."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, optimizer=optimizer_spec("adamw"), weight_decay=0.1, width=1.0)
    assert all((group["weight_decay"] > 0) == (group["role"] in DECAYED) for group in groups)
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    return decayed, {names[id(p)] for group in groups if not group["weight_decay"] for p in group["params"]}


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
def test_matrices_decay_and_gains_biases_embeddings_do_not(overrides):
    model = build(*overrides)
    decayed, kept = groups_by_name(model)
    assert decayed.isdisjoint(kept)
    assert decayed | kept == {name for name, _ in model.named_parameters()}
    of_norms = {
        f"{name}.{inner}"
        for name, module in model.named_modules()
        if "norm" in name.rpartition(".")[2]
        for inner, _ in module.named_parameters()
    }
    biases = {name for name in decayed | kept if name.endswith("bias")}
    assert kept == {"embedding.weight"} | of_norms | biases
    assert len(of_norms) >= 5
    assert bool(biases) == any("bias=true" in override for override in overrides)


def test_a_head_of_its_own_decays_and_a_tied_one_is_the_embedding():
    assert "head.weight" in groups_by_name(build("model.tied=false"))[0]
    tied = build("model.tied=true")
    assert "head.weight" not in dict(tied.named_parameters())
    assert "embedding.weight" in groups_by_name(tied)[1]


def test_a_parameter_shared_by_two_modules_counts_once_and_as_an_embedding():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 6, bias=False)
            self.embedding = nn.Embedding(6, 4)
            self.embedding.weight = self.head.weight

    assert groups_by_name(Shared()) == (set(), {"head.weight"})


def test_what_is_not_trained_is_in_no_group():
    model = build()
    model.embedding.weight.requires_grad_(False)
    assert "embedding.weight" not in set.union(*groups_by_name(model))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("overrides", [MODELS["tied"], MODELS["biased experts"]])
def test_an_optimizer_has_every_parameter_once_and_waits_for_a_rate(name, overrides):
    model = build(*overrides)
    optimizer = optimizer_spec(name).build(model)
    owned = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(owned) == len({id(p) for p in owned}) == len(list(model.parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def adamw(w: Tensor, gradients: list[Tensor], *, rates: list[float], beta1, beta2, eps, decay) -> Tensor:
    """Algorithm 2 of Loshchilov & Hutter (1711.05101), line by line, the schedule in the rate."""
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient * gradient
        unbiased_mean = mean / (1 - beta1**t)
        unbiased_square = square / (1 - beta2**t)
        w = w - rate * (unbiased_mean / (unbiased_square**0.5 + eps) + decay * w)
    return w


def test_adamw_is_its_definition():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3))
    rates = [0.1, 0.2, 0.05, 0.02]
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = {name: [torch.randn(p.shape, generator=generator) for _ in rates] for name, p in start.items()}
    optimizer = AdamWSpec(beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.3).build(model)
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, p in model.named_parameters():
            p.grad = gradients[name][step]
        optimizer.step()
    for name, p in model.named_parameters():
        decay = 0.3 if name == "1.weight" else 0.0
        expected = adamw(start[name], gradients[name], rates=rates, beta1=0.8, beta2=0.95, eps=1e-3, decay=decay)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{"beta1": 1.0}, {"beta2": -0.1}, {"eps": 0.0}, {"weight_decay": -1.0}])
def test_adamw_refuses_what_makes_no_sense(changes):
    [key] = changes
    with pytest.raises(SpecError, match=f"{key}="):
        optimizer_spec("adamw", **changes)
