"""What training is said to hold in memory is what it holds."""

from __future__ import annotations

from pathlib import Path

import options
import pytest
import torch

from nanochat.run.memory import _Kept, activation_bytes, training_memory
from nanochat.run.train import build_module
from tests.runs import small

MODELS = [
    (),
    ("attention=mla", "ffn=moe", "ffn.shared=1"),
    ("attention=sparse", "batch.isolate=true"),
    ("objective=mtp", "objective.ahead=2"),
    ("model.residual_scalars=true", "model.soft_cap=10", "norm.placement=sandwich", "batch.micro=2"),
    ("ffn=moe", "ffn.kernel=loop"),
]


@pytest.mark.parametrize("overrides", MODELS[:-1], ids=" ".join)
def test_the_traced_forward_pass_keeps_what_a_real_one_keeps(overrides: tuple[str, ...], tmp_path: Path):
    spec, _ = small(tmp_path, *overrides)
    module = build_module(spec)
    assert spec.batch.micro is not None
    tokens = torch.zeros(spec.batch.micro, spec.context + 1, dtype=torch.int64)
    kept = _Kept(module.trained.parameters())
    with kept:
        module.objective.measure(
            module.model, module.extra, tokens, docs=tokens[:, :-1] if spec.batch.isolate else None
        )
    assert activation_bytes(spec) == kept.bytes


@pytest.mark.parametrize("optimizer", options.names("optimizer"))
def test_weights_gradients_and_state_are_those_of_the_optimizer(optimizer: str, tmp_path: Path):
    spec, _ = small(tmp_path, "objective=mtp", f"optimizer={optimizer}")
    module = build_module(spec)
    made = module.configure_optimizers()
    for parameter in module.trained.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    memory = training_memory(spec)
    assert memory.weights == memory.gradients == sum(4 * p.numel() for p in module.trained.parameters())
    moments = [v for state in made.state.values() for k, v in state.items() if k != "step" and v is not None]
    assert memory.optimizer == sum(4 * v.numel() for v in moments)
    assert memory.total == memory.weights + memory.gradients + memory.optimizer + (memory.activations or 0)


def test_what_depends_on_the_numbers_is_not_guessed(tmp_path: Path):
    """Expert after expert, what is kept depends on which tokens each expert gets."""
    spec, _ = small(tmp_path, *MODELS[-1])
    assert activation_bytes(spec) is None
    assert training_memory(spec).total is None
