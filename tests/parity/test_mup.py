"""µP against `mup`, the package of its authors: initial weights, rates, multipliers, and training step by step.

It names torchvision as a dependency, which it does not import: `pip install --no-deps mup`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import options
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.core.roles import roles
from nanochat.model.transformer import Transformer
from nanochat.optimizer.adamw import AdamWSpec
from nanochat.optimizer.base import DECAYED

mup = pytest.importorskip("mup")

BASE, HEADS, DEPTH, VOCAB, TIME = 64, 4, 2, 61, 12
WIDTHS = (64, 128, 256)
RATE, EPS = 1e-2, 1e-8
OURS = (
    "init=mup",
    f"init.base_dim={BASE}",
    "model.tied=false",
    f"model.depth={DEPTH}",
    "attention=mha",
    f"attention.heads={HEADS}",
    "ffn=mlp",
    "position=none",
)


class Attention(nn.Module):
    """Multi-head attention with µP's scale, in plain matmuls."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            self.add_module(name, nn.Linear(dim, dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.get_submodule(f"{n}_proj")(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for n in "qkv")
        scores = q @ k.transpose(-2, -1) / q.shape[-1]
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y = scores.masked_fill(future, float("-inf")).softmax(-1) @ v
        return self.get_submodule("o_proj")(y.transpose(1, 2).flatten(2))


class Reference(nn.Module):
    """The same transformer as `mup` would have it written; parameters are named as ours."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, dim)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention_norms": nn.ModuleDict({"inner": nn.RMSNorm(dim, eps=1e-5)}),
                    "attention": Attention(dim),
                    "ffn_norms": nn.ModuleDict({"inner": nn.RMSNorm(dim, eps=1e-5)}),
                    "ffn": nn.ModuleDict(
                        {"up": nn.Linear(dim, 4 * dim, bias=False), "down": nn.Linear(4 * dim, dim, bias=False)}
                    ),
                }
            )
            for _ in range(DEPTH)
        )
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.head = mup.MuReadout(dim, VOCAB, bias=False, readout_zero_init=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            part: Any = block
            x = x + part["attention"](part["attention_norms"]["inner"](x))
            x = x + part["ffn"]["down"](F.gelu(part["ffn"]["up"](part["ffn_norms"]["inner"](x))))
        return self.head(self.norm(x)).float()


def reference(dim: int) -> Reference:
    model = Reference(dim)
    mup.set_base_shapes(model, Reference(BASE), delta=Reference(2 * BASE), rescale_params=False)
    return model


def ours(dim: int) -> Transformer:
    return options.architecture(*OURS, f"model.dim={dim}", "norm.eps=1e-5", vocab=VOCAB, context=TIME).build(
        vocab=VOCAB, context=TIME, seed=1
    )


def our_adamw(model: Transformer, dim: int, *, decay: float = 0.0) -> torch.optim.Optimizer:
    optimizer = AdamWSpec(beta1=0.9, beta2=0.95, eps=EPS, weight_decay=decay).build(model, width=dim / BASE)
    for group in optimizer.param_groups:
        group["lr"] = RATE * group["factor"]
    return optimizer


def their_adamw(model: Reference, dim: int, *, decay: float = 0.0) -> torch.optim.Optimizer:
    # `mup` leaves eps as it is: it has to be divided by hand (appendix B.3 of the paper).
    return mup.MuAdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), eps=EPS * BASE / dim, weight_decay=decay)


def rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rate of every parameter, by name."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("dim", WIDTHS)
def test_initial_weights_are_as_wide_as_theirs(dim):
    """Their rule for a given standard deviation at the base width, applied to ours there."""
    at_base, mine, theirs = ours(BASE), ours(dim), reference(dim)
    for name, role in roles(mine).items():
        if role == "vector":
            continue
        expected = theirs.get_parameter(name)
        if role == "head":
            assert not expected.any()
        else:
            mup.init.normal_(expected, std=at_base.get_parameter(name).std().item())
        assert mine.get_parameter(name).std().item() == pytest.approx(expected.std().item(), rel=0.05), name


@pytest.mark.parametrize("dim", WIDTHS)
def test_every_parameter_has_their_rate(dim):
    mine, theirs = ours(dim), reference(dim)
    expected = rates(theirs, their_adamw(theirs, dim))
    assert len(set(expected.values())) == (1 if dim == BASE else 2)
    assert rates(mine, our_adamw(mine, dim)) == pytest.approx(expected)


@pytest.mark.parametrize("dim", WIDTHS)
def test_matrices_decay_as_fast_as_theirs(dim):
    def shares(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        names = {id(p): name for name, p in model.named_parameters()}
        return {names[id(p)]: g["lr"] * g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}

    mine, theirs = ours(dim), reference(dim)
    found, expected = shares(mine, our_adamw(mine, dim, decay=0.1)), shares(theirs, their_adamw(theirs, dim, decay=0.1))
    matrices = {name for name, role in roles(mine).items() if role in DECAYED}
    assert {name: found[name] for name in matrices} == pytest.approx({name: expected[name] for name in matrices})


@pytest.mark.parametrize("dim", WIDTHS)
def test_logits_have_their_multiplier(dim):
    assert ours(dim).logit_scale == pytest.approx(1 / reference(dim).head.width_mult())


@pytest.mark.parametrize("head", ["as it starts", "drawn"])
@pytest.mark.parametrize("dim", WIDTHS)
def test_training_is_theirs_step_by_step(dim, head):
    """From the same weights the same logits, and after every step of AdamW the same weights, to 1e-5.

    From a zero head the first step moves nothing but it; from one that was drawn, everything at once.
    """
    # In double precision: where a gradient is nearly zero, rounding would decide the sign of Adam's first update.
    mine, theirs = ours(dim).double(), reference(dim).double()
    if head == "drawn":
        with torch.no_grad():
            mine.get_parameter("head.weight").normal_(generator=torch.Generator().manual_seed(3))
    theirs.load_state_dict(mine.state_dict())
    start = {name: p.detach().clone() for name, p in mine.named_parameters()}
    optimizers = our_adamw(mine, dim), their_adamw(theirs, dim)
    for tokens in batches():
        logits = mine(tokens[:, :-1]).logits, theirs(tokens[:, :-1])
        torch.testing.assert_close(*logits, rtol=0, atol=1e-5)
        for found, optimizer in zip(logits, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(found.flatten(0, 1), tokens[:, 1:].flatten()).backward()
            optimizer.step()
        for name, p in theirs.named_parameters():
            torch.testing.assert_close(mine.get_parameter(name), p, rtol=0, atol=1e-5, msg=name)
    assert not any(torch.allclose(p, start[name], atol=1e-4) for name, p in mine.named_parameters())


def batches() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        yield torch.randint(VOCAB, (8, TIME + 1), generator=generator)
