"""Objectives: what the logits are to predict, and how much it costs in nats."""

from __future__ import annotations

import csv
import math

import options
import pytest
import safetensors.torch
import torch

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import load
from nanochat.objective.base import ObjectiveSpec
from nanochat.objective.mtp import MTPSpec
from nanochat.objective.next_token import NextTokenSpec
from tests.runs import run_small


def objective(name: str) -> ObjectiveSpec:
    return load(compose([f"objective={name}"])["objective"], ObjectiveSpec)


def example(vocab: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocab, (3, 6), generator=generator)
    return tokens, torch.randn(3, 5, vocab, generator=generator)


def naive_nats(logits: torch.Tensor, targets: torch.Tensor) -> float:
    total = 0.0
    for row, wanted in zip(logits.flatten(0, 1).tolist(), targets.flatten().tolist(), strict=True):
        total += math.log(sum(math.exp(x) for x in row)) - row[wanted]
    return total


@pytest.mark.parametrize("name", options.names("objective"))
def test_every_objective_sums_over_sequences(name):
    """A sum, so that micro-batches add up to the large batch."""
    spec = objective(name)
    tokens, logits = example()
    whole = spec.nats(logits, spec.targets(tokens))
    parts = sum(spec.nats(logits[i : i + 1], spec.targets(tokens[i : i + 1])) for i in range(3))
    assert whole.ndim == 0
    torch.testing.assert_close(whole, parts)


def test_the_target_is_the_next_token():
    tokens, _ = example()
    assert NextTokenSpec().targets(tokens).tolist() == [row[1:] for row in tokens.tolist()]


def test_the_loss_is_the_cross_entropy_in_nats():
    spec = NextTokenSpec()
    tokens, logits = example()
    assert spec.nats(logits, spec.targets(tokens)).item() == pytest.approx(naive_nats(logits, spec.targets(tokens)))
    flat = torch.zeros(3, 5, 11)
    assert spec.nats(flat, spec.targets(tokens)).item() == pytest.approx(15 * math.log(11))


def test_the_gradient_is_probability_minus_one_at_the_target():
    spec = NextTokenSpec()
    tokens, logits = example()
    logits.requires_grad_()
    spec.nats(logits, spec.targets(tokens)).backward()
    expected = logits.detach().softmax(-1) - torch.nn.functional.one_hot(spec.targets(tokens), 11)
    torch.testing.assert_close(logits.grad, expected)


def test_half_precision_logits_are_summed_in_full():
    spec = NextTokenSpec()
    tokens, logits = example()
    rounded = logits.bfloat16()
    found = spec.nats(rounded, spec.targets(tokens))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(naive_nats(rounded.float(), spec.targets(tokens)))


def mtp(ahead: int = 2, *overrides: str):
    """A small model, its chain for `ahead` further tokens, and the objective."""
    architecture = options.architecture("attention.heads=4", *overrides)
    spec = MTPSpec(ahead=ahead, weight=0.3)
    extra = spec.build(architecture, vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    model = architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    return spec, architecture, model, extra


def random_tokens(batch: int = 3, time: int = 17) -> torch.Tensor:
    return torch.randint(options.VOCAB, (batch, time), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("overrides", [(), ("ffn=moe",), ("model.tied=false", "norm.placement=post")], ids=" ".join)
def test_the_chain_is_its_definition(overrides):
    """Position by position: h_k[i] is made of h_{k-1}[≤ i] and tokens[≤ i+k], and predicts token i+k+1."""
    spec, _, model, extra = mtp(2, *overrides)
    tokens = random_tokens()
    found = spec.measure(model, extra, tokens, docs=None)
    stream = model(tokens[:, :-1]).stream
    embed = model.embedding
    means = []
    for k, module in enumerate(extra.chain, start=1):
        total = 0.0
        rows = []
        for i in range(tokens.shape[1] - 1 - k):
            both = torch.cat(
                [module.stream_norm(stream[:, : i + 1]), module.token_norm(embed(tokens[:, k : k + i + 1]))], -1
            )
            rows.append(module.block(module.projection(both))[0][:, -1])
            logits = model.logits(rows[-1][:, None], norm=module.norm)[:, 0]
            total = total + torch.nn.functional.cross_entropy(logits, tokens[:, i + k + 1], reduction="sum")
        stream = torch.stack(rows, dim=1)
        means.append(total)
    main = spec.nats(model(tokens[:, :-1]).logits, tokens[:, 1:])
    torch.testing.assert_close(found.minimised, main + 0.3 * torch.stack(means).mean(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.next_token, main)
    assert found.aux.metrics["further_loss"].item() == pytest.approx(
        torch.stack(means).mean().item() / tokens[:, 1:].numel(), rel=1e-4
    )


def test_a_document_is_not_asked_to_predict_the_next_one():
    """Packed or by themselves, the chain's nats of two documents add up to the same."""
    spec, _, model, extra = mtp(2)
    tokens = random_tokens(batch=1, time=20)
    docs = torch.tensor([[0] * 8 + [1] * 11])

    def chain(tokens: torch.Tensor, docs: torch.Tensor) -> float:
        found = spec.measure(model, extra, tokens, docs=docs)
        return (found.minimised - found.next_token).item()

    # By itself the first document ends with what the second one begins with, which its last position does predict.
    parts = chain(tokens[:, :9], docs[:, :8]) + chain(tokens[:, 8:], docs[:, 8:])
    assert chain(tokens, docs) == pytest.approx(parts, abs=2e-3)
    other = tokens.clone()
    other[:, 9:] = (other[:, 9:] + 1) % options.VOCAB
    assert chain(tokens, docs) != pytest.approx(chain(other, docs), abs=1e-3)


def test_the_chain_trains_with_the_model_and_costs_what_it_says():
    spec, architecture, model, extra = mtp()
    tokens = random_tokens(time=options.CONTEXT + 1)
    spec.measure(model, extra, tokens, docs=None).minimised.backward()
    for name, parameter in [*model.named_parameters(), *extra.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    cost = spec.cost(architecture, vocab=options.VOCAB, context=options.CONTEXT)
    assert cost.params == sum(p.numel() for p in extra.parameters())
    assert cost.state_bytes == 0
    weights = sum(p.numel() for p in extra.parameters() if p.ndim > 1) + 2 * options.VOCAB * 64
    attention = 2 * 6 * 4 * 2 * 16 * options.CONTEXT
    assert cost.flops_mfu == 6 * weights + attention


def test_a_prediction_too_far_ahead():
    with pytest.raises(SpecError, match=r"^ahead=32: must be less than context=32; try 31 at most"):
        MTPSpec(ahead=32, weight=0.3).check(context=32)


def test_mtp_leaves_the_model_alone_behind_and_resumes(tmp_path):
    """The next token's loss is reported beside the chain's; the saved model has none of the chain's weights."""
    result, folder = run_small(tmp_path, "objective=mtp", "objective.ahead=2")
    plain, other = run_small(tmp_path, "objective=next_token")
    assert result["status"] == plain["status"] == "complete"
    names = [set(safetensors.torch.load_file(f.model_file)) for f in (folder, other)]
    assert names[0] == names[1]
    assert result["params"] == plain["params"] and result["flops"] > 1.5 * plain["flops"]
    ours, theirs = (next(csv.DictReader((f.path / "metrics.csv").open())) for f in (folder, other))
    assert float(ours["further_loss"]) > 3
    assert ours["train_loss"] == theirs["train_loss"]
