"""Small real runs on CUDA: what they compute, and that stopping, compiling and half precision change no more than they
may."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from options import names
from safetensors.torch import load_file
from torch import Tensor

from nanochat.core.compose import CONF
from nanochat.core.noise import Noise
from nanochat.ffn.moe import MoE
from nanochat.logger.csv import read
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec
from nanochat.trainer.control import Control, Silent
from tests.run.test_training import StopAt
from tests.runs import SMALL, small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

REST = tuple(word for word in SMALL if word != "trainer=cpu")
GPU = ("trainer=gpu", *REST)
FP32 = ("trainer=gpu", "trainer.precision=fp32", *REST)
CPU = SMALL
MEASURED = {"seconds", "tokens_per_second", "memory_mib"}

PARTS = [
    (),
    ("attention=mla",),
    ("ffn=moe",),
    ("ffn=moe", "ffn.router=sigmoid", "ffn.shared=1"),
    ("objective=mtp",),
    ("model.value_embeddings=all", "model.residual_scalars=true"),
]
NOISY = [("ffn=moe", "ffn.router=gumbel"), ("model.dropout=0.2",)]


def run(
    folder: Path, *overrides: str, base: tuple[str, ...] = GPU, control: Control | None = None
) -> tuple[RunSpec, dict[str, Any], RunFolder]:
    """A small run; its resolved Spec, its result and its folder."""
    spec, how = small(folder, *overrides, base=base)
    result = execute(spec, settings=how, control=control or Silent())
    return spec, result, RunFolder(how.paths.runs / result["key"])


def rows(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in read(folder.path / "metrics.csv")]


@pytest.mark.parametrize("parts", [*PARTS, *NOISY], ids=" ".join)
def test_a_run_in_half_precision_completes_near_one_in_full(tmp_path, parts):
    spec, result, folder = run(tmp_path, *parts)
    assert (spec.trainer.device, spec.trainer.precision, result["status"]) == ("cuda", "bf16", "complete"), result
    assert result["peak_memory_mib"] > 0
    assert {weight.dtype for weight in load_file(folder.model_file).values()} == {torch.float32}
    _, _, exact = run(tmp_path, *parts, base=FP32)
    assert rows(folder)[0]["train_loss"] == pytest.approx(rows(exact)[0]["train_loss"], rel=0.01)
    assert rows(folder)[-1]["valid_bpb"] == pytest.approx(rows(exact)[-1]["valid_bpb"], rel=0.03)


@pytest.mark.parametrize("parts", PARTS, ids=" ".join)
def test_the_gpu_computes_what_the_cpu_does(tmp_path, parts):
    """From the same weights on the same tokens: the first loss to rounding, the last within what rounding grows to."""
    _, here, ours = run(tmp_path, *parts, base=FP32)
    _, there, reference = run(tmp_path, *parts, base=CPU)
    assert here["status"] == there["status"] == "complete"
    assert ours.key != reference.key
    found, expected = rows(ours), rows(reference)
    assert found[0]["train_loss"] == pytest.approx(expected[0]["train_loss"], rel=1e-4)
    assert found[0]["grad_norm"] == pytest.approx(expected[0]["grad_norm"], rel=1e-3)
    assert here["test"]["bpb"] == pytest.approx(there["test"]["bpb"], rel=5e-3)


@pytest.mark.parametrize("parts", [*PARTS, *NOISY], ids=" ".join)
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, parts):
    """On one GPU; noise too is drawn again as it was."""
    _, expected, whole = run(tmp_path / "whole", *parts)
    for tokens in (768, 1280):
        _, stopped, _ = run(tmp_path / "parts", *parts, control=StopAt(tokens))
        assert (stopped["status"], stopped["tokens"]) == ("stopped", tokens)
    _, found, resumed = run(tmp_path / "parts", *parts)
    assert found["test"] == expected["test"]
    a, b = load_file(whole.model_file), load_file(resumed.model_file)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert rows(whole) == rows(resumed)


@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_a_compiled_model_computes_the_same(tmp_path, attention: str):
    """In a process of its own: the checks of shapes that tests put around every function cannot be compiled."""
    words = (f"attention={attention}", "stop.steps=1", "eval.evaluations=1")
    _, eager, plain = run(tmp_path, *words, base=FP32)
    assert eager["status"] == "complete"
    command = [sys.executable, "run.py", *FP32, *words, "trainer.compile=true", f"paths.multirun={tmp_path}/compiled"]
    done = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = (tmp_path / "compiled" / "runs").iterdir()
    compiled = RunFolder(path)
    result = compiled.complete()
    assert result is not None and path.name != plain.key
    assert rows(compiled)[0]["train_loss"] == pytest.approx(rows(plain)[0]["train_loss"], rel=1e-4)
    assert result["test"]["bpb"] == pytest.approx(eager["test"]["bpb"], rel=1e-3)


@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_every_optimizer_moves_every_matrix(tmp_path, optimizer: str):
    spec, result, folder = run(tmp_path, f"optimizer={optimizer}", "stop.steps=3", "eval.evaluations=1")
    assert result["status"] == "complete", result
    before = spec.architecture.build(vocab=spec.tokenizer.ids, context=spec.context, seed=spec.seed).state_dict()
    after = load_file(folder.model_file)
    assert after and all(weight.isfinite().all() for weight in after.values())
    still = [name for name, weight in after.items() if weight.ndim > 1 and torch.equal(weight, before[name].cpu())]
    assert still == []


def mixtures(folder: Path) -> list[MoE]:
    """The same mixture of experts with either kernel."""
    spec, _ = small(folder, "ffn=moe", base=GPU)
    geometry = spec.architecture.geometry(vocab=spec.tokenizer.ids, context=spec.context)
    built = [spec.ffn.replace(kernel=kernel).build(geometry).cuda() for kernel in ("grouped", "loop")]
    built[1].load_state_dict(built[0].state_dict())
    assert all(isinstance(moe, MoE) for moe in built)
    return [moe for moe in built if isinstance(moe, MoE)]


@pytest.mark.parametrize(("half", "tolerance"), [(True, 3e-2), (False, 1e-5)], ids=["bf16", "fp32"])
def test_grouped_experts_equal_the_loop(tmp_path, half: bool, tolerance: float):
    """Outputs and gradients, with an expert that no token goes to."""
    answers: list[list[Tensor]] = []
    for moe in mixtures(tmp_path):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(4, 32, moe.router.weight.shape[1], generator=generator)
        x[..., 0] = 3.0
        with torch.no_grad():
            moe.router.weight[0] = 0
            moe.router.weight[0, 0] = -10.0  # the first channel is 3: the first expert's logit is −30
        x = x.cuda().requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            y, _ = moe(x)
        assert moe.counts[0] == 0 and moe.counts.sum() == 4 * 32 * 2
        (y.float() * torch.randn(y.shape, generator=generator).cuda()).sum().backward()
        gradients = [parameter.grad for parameter in moe.parameters()]
        assert x.grad is not None and all(gradient is not None for gradient in gradients)
        answers.append([y.float(), x.grad, *(gradient for gradient in gradients if gradient is not None)])
    for grouped, loop in zip(*answers, strict=True):
        bound = tolerance * loop.abs().max().item()  # half precision rounds relative to the largest numbers of a sum
        torch.testing.assert_close(grouped, loop, rtol=tolerance, atol=bound)


def test_noise_depends_on_the_sequence_and_not_on_the_batch_that_it_comes_in():
    noise, device = Noise(), torch.device("cuda")
    noise.keys = (11, 12, 13, 14)
    whole = noise.uniform(32, 64, batch=4, device=device)
    assert whole.device.type == "cuda" and whole.min() >= 0 and whole.max() < 1
    assert abs(whole.mean().item() - 0.5) < 0.02
    parts = []
    for keys in ((11, 12), (13, 14)):
        noise.keys = keys
        parts.append(noise.uniform(32, 64, batch=2, device=device))
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("parts", NOISY, ids=" ".join)
def test_micro_batches_change_no_noise(tmp_path, parts):
    """The first loss of eight micro-batches of one sequence is that of one of eight."""
    _, _, whole = run(tmp_path, *parts, "batch.micro=8", base=FP32)
    _, _, split = run(tmp_path, *parts, "batch.micro=1", base=FP32)
    assert rows(split)[0]["train_loss"] == pytest.approx(rows(whole)[0]["train_loss"], rel=1e-4)
    _, _, other = run(tmp_path, *parts, "batch.micro=8", "seed=2", base=FP32)
    assert rows(other)[0]["train_loss"] != rows(whole)[0]["train_loss"]
