"""Mixtures of experts in whole runs: what a router keeps between steps, and what a run records of its experts."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from nanochat.data.corpus import prepare
from nanochat.data.sequences import Sequences
from nanochat.logger.csv import read
from nanochat.run.train import build_module
from nanochat.trainer.module import Batch
from tests.run.test_training import StopAt
from tests.runs import run_small, small

TIMINGS = {"seconds", "tokens_per_second", "memory_mib"}
ROUTERS = [
    ("ffn=moe", "ffn.router=sigmoid", "ffn.gamma=0.01"),
    ("ffn=moe", "ffn.router=gumbel"),
    ("ffn=hybrid", "ffn.parts.b.router=sigmoid"),
]


def rows(folder) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in read(folder.path / "metrics.csv")]


@pytest.mark.parametrize("overrides", ROUTERS, ids=" ".join)
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, overrides):
    expected, whole = run_small(tmp_path / "whole", *overrides)
    for tokens in (768, 1280):
        stopped, _ = run_small(tmp_path / "parts", *overrides, control=StopAt(tokens))
        assert (stopped["status"], stopped["tokens"]) == ("stopped", tokens)
    found, parts = run_small(tmp_path / "parts", *overrides)
    assert found["test"] == expected["test"]
    a, b = load_file(whole.model_file), load_file(parts.model_file)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert rows(whole) == rows(parts)
    biases = [value for name, value in a.items() if name.endswith("router.bias")]
    assert all(value.any() for value in biases) and bool(biases) is ("gumbel" not in " ".join(overrides))


def test_a_row_of_metrics_shows_every_expert_of_every_block(tmp_path):
    _, folder = run_small(tmp_path, "ffn=moe")
    for row in rows(folder):
        for layer in range(2):
            assert sum(row[f"expert_share.{layer}.{expert}"] for expert in range(8)) == pytest.approx(1)
        assert 0 <= row["router_entropy"] <= 1.0001 and 0 < row["load_entropy"] <= 1.0001
        assert row["max_violation"] >= 0 and 0 <= row["dead_experts"] < 1


@pytest.mark.parametrize("overrides", ROUTERS, ids=" ".join)
def test_accumulated_is_the_large_batch(tmp_path, overrides):
    """Gradients, metrics and the move of the bias do not depend on the micro-batches, nor on how many they are."""
    results = []
    for micro in (8, 2, 1):
        spec, how = small(tmp_path, *overrides, f"batch.micro={micro}")
        corpus = prepare(spec.data, spec.tokenizer, cache=how.paths.cache, context=spec.context)
        sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
        module = build_module(spec)
        module.manual_backward = lambda loss: loss.backward()
        measured = module.accumulate(Batch(*map(torch.from_numpy, sequences.batch(0, 8))))
        loads = module.model.after_step()
        grads = {name: p.grad for name, p in module.model.named_parameters()}
        results.append((measured, grads, loads, dict(module.model.named_buffers())))
    for measured, grads, loads, buffers in results[1:]:
        assert measured == pytest.approx(results[0][0], rel=1e-5)
        torch.testing.assert_close(grads, results[0][1], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close((loads, buffers), results[0][2:], rtol=0, atol=0)
