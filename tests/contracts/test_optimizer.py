"""Optimizers: what decays, what does not, and each against its own definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import options
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.roles import Role, roles
from nanochat.core.spec import load
from nanochat.model.transformer import Transformer
from nanochat.optimizer.adagrad import AdagradSpec
from nanochat.optimizer.adam import AdamSpec
from nanochat.optimizer.adamw import AdamWSpec
from nanochat.optimizer.base import DECAYED, OptimizerSpec, parameter_groups
from nanochat.optimizer.lion import LionSpec
from nanochat.optimizer.muon import MATRICES, Muon, MuonSpec, orthogonalize
from nanochat.optimizer.sgd import SGDSpec
from nanochat.trainer.control import Silent
from tests.runs import run_small

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


def optimizer_spec(name: str, **changes: Any) -> OptimizerSpec:
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


RATES = [0.1, 0.2, 0.05, 0.02]
Gradients = dict[str, list[Tensor]]


class Small(nn.Module):
    """One parameter of every role, and experts."""

    roles: Mapping[str, Role] = {"out.weight": "residual", "head.weight": "head"}

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.tall, self.out, self.head = nn.Linear(5, 9), nn.Linear(9, 5, bias=False), nn.Linear(5, 7, bias=False)
        self.experts = nn.Parameter(torch.randn(3, 4, 5))


def seeded_model() -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small()


def random_gradients(model: nn.Module) -> Gradients:
    generator = torch.Generator().manual_seed(1)
    return {name: [torch.randn(p.shape, generator=generator) for _ in RATES] for name, p in model.named_parameters()}


def train(model: nn.Module, optimizer: Optimizer, gradients: Gradients, steps: Iterable[int] = range(len(RATES))):
    """Step with the rates of RATES, times each group's factor, and the gradients given."""
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = RATES[step] * group.get("factor", 1.0)
        for name, p in model.named_parameters():
            p.grad = gradients[name][step].clone()
        optimizer.step()


def trained(spec: OptimizerSpec) -> dict[str, Tensor]:
    """The parameters of the small model after four steps."""
    model = seeded_model()
    train(model, spec.build(model), random_gradients(model))
    return {name: p.detach() for name, p in model.named_parameters()}


def trained_by_hand(step: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The same by `step(w, gradients, rates=, decays=)`, `decays` telling whether weight decay applies."""
    model = seeded_model()
    gradients, role_of = random_gradients(model), roles(model)
    return {
        name: step(p.detach(), gradients[name], rates=RATES, decays=role_of[name] in DECAYED)
        for name, p in model.named_parameters()
    }


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_adamw_is_its_definition():
    def by_hand(w, gradients, *, rates, decays):
        return adamw(w, gradients, rates=rates, beta1=0.8, beta2=0.95, eps=1e-3, decay=0.3 if decays else 0.0)

    assert_alike(trained(AdamWSpec(beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.3)), trained_by_hand(by_hand))


def test_adam_is_adamw_without_decay():
    def by_hand(w, gradients, *, rates, decays):
        return adamw(w, gradients, rates=rates, beta1=0.8, beta2=0.95, eps=1e-3, decay=0.0)

    assert_alike(trained(AdamSpec(beta1=0.8, beta2=0.95, eps=1e-3)), trained_by_hand(by_hand))


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_adagrad_is_its_definition(start: float):
    def by_hand(w, gradients, *, rates, decays):
        total = torch.full_like(w, start)
        for gradient, rate in zip(gradients, rates, strict=True):
            total = total + gradient**2
            w = w - rate * gradient / (total**0.5 + 1e-3)
        return w

    assert_alike(trained(AdagradSpec(initial_accumulator=start, eps=1e-3)), trained_by_hand(by_hand))


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.8, True)])
def test_sgd_is_its_definition(momentum: float, nesterov: bool):
    def by_hand(w, gradients, *, rates, decays):
        total = torch.zeros_like(w)
        for gradient, rate in zip(gradients, rates, strict=True):
            total = momentum * total + gradient
            w = w - rate * (gradient + momentum * total if nesterov else total)
        return w

    assert_alike(trained(SGDSpec(momentum=momentum, nesterov=nesterov)), trained_by_hand(by_hand))


def test_lion_is_its_definition():
    """Algorithm 2 of Chen et al. (2302.06675), line by line."""

    def by_hand(w, gradients, *, rates, decays):
        momentum = torch.zeros_like(w)
        for gradient, rate in zip(gradients, rates, strict=True):
            direction = torch.sign(0.7 * momentum + 0.3 * gradient)
            momentum = 0.9 * momentum + 0.1 * gradient
            w = w - rate * (direction + (0.4 if decays else 0.0) * w)
        return w

    assert_alike(trained(LionSpec(beta1=0.7, beta2=0.9, weight_decay=0.4)), trained_by_hand(by_hand))


def muon_spec(**changes: Any) -> MuonSpec:
    spec = optimizer_spec("muon", **{"momentum": 0.8, "weight_decay": 0.3, "eps": 1e-3, **changes})
    assert isinstance(spec, MuonSpec)
    return spec


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", ["original", "match_rms"])
def test_muon_is_its_definition_and_adamw_for_what_is_no_matrix(adjust: str, nesterov: bool):
    """Matrix by matrix, an expert being a matrix, with the powers of the singular values that the iteration sums."""
    role_of = roles(seeded_model())

    def matrix(w, gradients, *, rates, decays):
        if w.ndim == 3:
            each = [matrix(one, [g[i] for g in gradients], rates=rates, decays=decays) for i, one in enumerate(w)]
            return torch.stack(each)
        out, inputs = w.shape
        scale = max(1, out / inputs) ** 0.5 if adjust == "original" else 0.2 * max(out, inputs) ** 0.5
        momentum = torch.zeros_like(w)
        for gradient, rate in zip(gradients, rates, strict=True):
            momentum = 0.8 * momentum + 0.2 * gradient
            ahead = 0.8 * momentum + 0.2 * gradient if nesterov else momentum
            u, s, vh = torch.linalg.svd(ahead, full_matrices=False)
            s = s / s.square().sum().sqrt()
            for _ in range(5):
                s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
            w = w - rate * 0.3 * w - rate * scale * (u * s) @ vh
        return w

    def other(w, gradients, *, rates, decays):
        decay = 0.3 if decays else 0.0
        slower = [0.15 * rate for rate in rates]
        return adamw(w, gradients, rates=slower, beta1=0.9, beta2=0.95, eps=1e-3, decay=decay)

    found = trained(muon_spec(adjust=adjust, nesterov=nesterov))
    by_matrix, by_adamw = trained_by_hand(matrix_or_none(matrix)), trained_by_hand(other)
    expected = {name: (by_matrix if role_of[name] in MATRICES else by_adamw)[name] for name in found}
    assert {name for name in found if role_of[name] in MATRICES} == {"tall.weight", "out.weight", "experts"}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def matrix_or_none(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`step` for matrices; what is none stays."""
    return lambda w, gradients, **how: step(w, gradients, **how) if w.ndim > 1 else w


@pytest.mark.parametrize(("adjust", "theirs"), [("original", "original"), ("match_rms", "match_rms_adamw")])
def test_muon_is_that_of_torch(adjust: str, theirs: str):
    """In the half precision in which theirs always iterates."""
    models = [nn.ModuleList([nn.Linear(24, 16, bias=False), nn.Linear(16, 24, bias=False)]) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    spec, gradients = muon_spec(adjust=adjust), random_gradients(models[0])
    groups = parameter_groups(models[0], optimizer=spec, weight_decay=0.3, width=1.0)
    train(models[0], Muon(groups, spec=spec, eps=1e-3, dtype=torch.bfloat16), gradients)
    peer = torch.optim.Muon(models[1].parameters(), weight_decay=0.3, momentum=0.8, adjust_lr_fn=theirs)
    train(models[1], peer, gradients)
    for ours, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=5e-3)


PEERS: dict[str, tuple[OptimizerSpec, Callable[..., Optimizer]]] = {
    "adam": (AdamSpec(beta1=0.8, beta2=0.95, eps=1e-3), partial(torch.optim.Adam, betas=(0.8, 0.95), eps=1e-3)),
    "adagrad": (
        AdagradSpec(initial_accumulator=0.2, eps=1e-3),
        partial(torch.optim.Adagrad, initial_accumulator_value=0.2, eps=1e-3),
    ),
    "sgd": (SGDSpec(momentum=0.8, nesterov=True), partial(torch.optim.SGD, momentum=0.8, nesterov=True)),
}


@pytest.mark.parametrize(("spec", "peer"), PEERS.values(), ids=PEERS)
def test_an_optimizer_is_that_of_torch(spec: OptimizerSpec, peer: Callable[..., Optimizer]):
    model = seeded_model()
    train(model, peer(model.parameters(), lr=0.0), random_gradients(model))
    assert_alike(trained(spec), {name: p.detach() for name, p in model.named_parameters()})


@given(out=st.integers(1, 12), inputs=st.integers(1, 12), seed=st.integers(0, 99))
def test_orthogonalising_makes_all_singular_values_near_one(out: int, inputs: int, seed: int):
    """Those that were not tiny to begin with: five iterations lift a value of 0.05 to 0.7 (of a matrix of norm one)."""
    x = torch.randn(2, out, inputs, generator=torch.Generator().manual_seed(seed))
    before = torch.linalg.svdvals(x) / x.norm(dim=(-2, -1))[:, None]
    after = torch.linalg.svdvals(orthogonalize(x, iterations=5))
    assert after.max() < 1.25
    assert (after.sort().values[before.sort().values > 0.05] > 0.65).all()
    torch.testing.assert_close(orthogonalize(3 * x, iterations=5), orthogonalize(x, iterations=5))


def test_a_matrix_without_gradient_stays():
    assert (orthogonalize(torch.zeros(2, 3, 4), iterations=5) == 0).all()


def test_a_parameter_that_got_no_gradient_is_left_alone():
    for name in NAMES:
        model = seeded_model()
        optimizer = optimizer_spec(name).build(model)
        for p in (model.head.weight, model.out.weight, model.embedding.weight):
            p.grad = torch.ones_like(p)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        optimizer.step()
        moved = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
        assert moved == {"head.weight", "out.weight", "embedding.weight"}, name


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_bit_for_bit(name: str, tmp_path: Path):
    """Through a file that holds nothing but tensors and plain data."""
    whole, gradients = trained(optimizer_spec(name)), random_gradients(seeded_model())
    model = seeded_model()
    optimizer = optimizer_spec(name).build(model)
    train(model, optimizer, gradients, range(2))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state")
    saved, model = torch.load(tmp_path / "state", weights_only=True), seeded_model()
    model.load_state_dict(saved["model"])
    optimizer = optimizer_spec(name).build(model)
    optimizer.load_state_dict(saved["optimizer"])
    train(model, optimizer, gradients, range(2, 4))
    assert all(torch.equal(p, whole[key]) for key, p in model.named_parameters())


class StopAt(Silent):
    """Asks to stop once `tokens` have been trained on."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.seen = 0

    def progress(self, phase, *, tokens, total, loss=None, bpb=None):
        self.seen = tokens

    def stop_requested(self) -> bool:
        return self.seen >= self.tokens


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_same_bit_for_bit(name: str, tmp_path: Path):
    overrides = (f"optimizer={name}", "ffn=moe", "model.tied=false", "stop.steps=4", "eval.evaluations=1")
    _, whole = run_small(tmp_path / "whole", *overrides)
    stopped, _ = run_small(tmp_path / "parts", *overrides, control=StopAt(512))
    assert (stopped["status"], stopped["tokens"]) == ("stopped", 512)
    _, resumed = run_small(tmp_path / "parts", *overrides)
    a, b = load_file(whole.model_file), load_file(resumed.model_file)
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_for_a_matrix_is_what_the_spec_says_in_single_precision(name: str):
    model = seeded_model()
    optimizer = optimizer_spec(name).build(model)
    train(model, optimizer, random_gradients(model))
    kept = [v for v in optimizer.state[model.out.weight].values() if isinstance(v, Tensor) and v.ndim]
    assert all(v.dtype == torch.float32 for v in kept)
    assert sum(v.numel() for v in kept) == optimizer_spec(name).state_per_parameter("hidden") * model.out.weight.numel()


# The factors of (embedding, hidden, residual, head, vector) at four times the width.
FACTORS = {
    "adamw": (1, 1 / 4, 1 / 4, 1, 1),
    "adam": (1, 1 / 4, 1 / 4, 1, 1),
    "adagrad": (1, 1 / 4, 1 / 4, 1, 1),
    "lion": (1, 1 / 4, 1 / 4, 1, 1),
    "sgd": (4, 1, 1, 4, 4),
    "muon": (0.15, 1, 1, 0.15, 0.15),
}


@pytest.mark.parametrize("name", NAMES)
def test_rates_follow_the_width_by_role(name: str):
    groups = optimizer_spec(name).build(seeded_model(), width=4.0).param_groups
    assert tuple(group["factor"] for group in groups) == pytest.approx(FACTORS[name])
    assert [group["role"] for group in groups] == ["embedding", "hidden", "residual", "head", "vector"]


def test_muon_that_matches_adamw_needs_a_factor_of_its_own():
    groups = muon_spec(adjust="match_rms").build(seeded_model(), width=4.0).param_groups
    assert [group["factor"] for group in groups] == pytest.approx([0.15, 0.5, 0.5, 0.15, 0.15])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("sgd", "muon")])
def test_gradients_that_shrink_with_the_width_move_as_far(name: str):
    """Under µP all gradients fall like 1/m: but for its factor, an update that only sees their direction stays."""
    model, wide = seeded_model(), seeded_model()
    optimizer = optimizer_spec(name, **({"initial_accumulator": 0.2} if name == "adagrad" else {}))
    gradients = random_gradients(model)
    train(model, optimizer.build(model), gradients)
    built = optimizer.build(wide, width=8.0)
    for group in built.param_groups:
        group["weight_decay"] *= group["factor"]
        group["factor"] = 1.0
    train(wide, built, {key: [g / 8 for g in of] for key, of in gradients.items()})
    for p, other in zip(model.parameters(), wide.parameters(), strict=True):
        torch.testing.assert_close(p, other, rtol=1e-5, atol=1e-6)


# A rate at which four steps change the outputs visibly, by option.
COORDINATES = {"adamw": 3e-3, "adam": 3e-3, "adagrad": 1e-2, "lion": 1e-3, "sgd": 0.05, "muon": 0.02}


def change(spec: OptimizerSpec, dim: int, *, rate: float, factors: bool = True) -> tuple[float, float]:
    """By how much four steps at this rate change stream and logits of a µP model, as means of |x|."""
    mup = ("init=mup", "init.base_dim=64", "model.tied=false", f"model.dim={dim}")
    model = build(*mup)
    optimizer = spec.build(model, width=dim / 64)
    tokens = torch.randint(options.VOCAB, (4, options.CONTEXT), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    for _ in range(4):
        for group in optimizer.param_groups:
            group["lr"] = rate * (group["factor"] if factors else 1.0)
        optimizer.zero_grad()
        logits = model(tokens).logits[:, :-1]
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
    after = model(tokens)
    pairs = ((before.stream, after.stream), (before.logits, after.logits))
    first, second = ((b - a).abs().mean().item() for a, b in pairs)
    return first, second


def slopes(spec: OptimizerSpec, **how: Any) -> list[float]:
    """The slope of log(change) over log(width) between 64 and 256, of stream and logits."""
    narrow, wide = change(spec, 64, **how), change(spec, 256, **how)
    return [math.log(b / a) / math.log(4) for a, b in zip(narrow, wide, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_a_wide_model_as_much_as_a_narrow_one(name: str):
    """The coordinate check of µP (Yang et al., 2203.03466, appendix D.1)."""
    assert slopes(optimizer_spec(name), rate=COORDINATES[name]) == pytest.approx([0, 0], abs=0.22)


def test_without_factors_of_their_own_it_would_not():
    assert slopes(optimizer_spec("sgd"), rate=0.05, factors=False)[1] < -0.7
    spec = muon_spec(adjust="match_rms", adam_factor=1.0, weight_decay=0.1)
    assert slopes(spec, rate=0.02) == pytest.approx([0, 0], abs=0.22)
    assert slopes(spec, rate=0.02, factors=False)[0] > 0.3


REFUSED = [
    ("adamw", {"beta1": 1.0}),
    ("adamw", {"beta2": -0.1}),
    ("adamw", {"eps": 0.0}),
    ("adamw", {"weight_decay": -1.0}),
    ("adam", {"beta1": 1.0}),
    ("adagrad", {"initial_accumulator": -0.1}),
    ("adagrad", {"eps": 0.0}),
    ("sgd", {"momentum": 1.0}),
    ("lion", {"beta2": 1.0}),
    ("muon", {"iterations": 0}),
    ("muon", {"adjust": "none"}),
    ("muon", {"adam_factor": 0.0}),
]


@pytest.mark.parametrize(("name", "changes"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused(name: str, changes: dict[str, Any]):
    [key] = changes
    with pytest.raises(SpecError, match=f"{key}="):
        optimizer_spec(name, **changes)


def test_looking_ahead_needs_momentum():
    with pytest.raises(SpecError, match="nesterov=True: needs a momentum above zero; use nesterov=false"):
        optimizer_spec("sgd", momentum=0.0)
