"""Another micro-batch than the Spec's: for machines on which that does not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.run.memory import activation_bytes
from nanochat.run.oom import is_oom
from nanochat.trainer.control import Silent
from tests.run.children import Child
from tests.run.listener import Listener
from tests.run.targets import starved
from tests.runs import small

# Eight sequences whose activations are most of what the run needs.
HUNGRY = ("context=2048", "batch.tokens=16384", "data.count=1000", "stop.steps=2", "eval.evaluations=1", "eval.batch=1")


@pytest.mark.slow
def test_what_does_not_fit_is_oom_and_fits_in_quarters(tmp_path):
    spec, _ = small(tmp_path, *HUNGRY)
    held = activation_bytes(spec)
    assert spec.batch.micro == 8 and held is not None
    for micro, status in ((None, "oom"), (2, "complete")):
        with Child(tmp_path / "starved", *HUNGRY, target=starved, spare=held * 4 // 5, micro=micro) as child:
            result = child.result()
        assert (result["status"], result["micro"]) == (status, micro or 8), child.folder.tail()
    with Child(tmp_path / "fed", *HUNGRY) as child:
        fed = child.result()
    assert (fed["micro"], fed["key"]) == (8, result["key"])
    starving = RunFolder(tmp_path / "starved" / "multirun" / "runs" / fed["key"])
    close(load_file(starving.model_file), load_file(child.folder.model_file))


def test_a_stopped_run_goes_on_with_another_micro_batch(tmp_path):
    spec, how = small(tmp_path)
    stopped = execute(spec, settings=how, control=Listener(256))
    assert (stopped["status"], stopped["micro"], stopped["steps"]) == ("stopped", 8, 1)
    done = execute(spec, settings=how, control=Silent(), micro=2)
    assert (done["status"], done["micro"], done["key"]) == ("complete", 2, stopped["key"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_every_want_of_memory_is_known(error):
    assert is_oom(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("bad_alloc is no word of the user's"),
        OSError(28, "No space left on device"),
        RuntimeError("out of resource: shared memory"),
    ],
    ids=str,
)
def test_other_failures_are_no_want_of_memory(error):
    assert not is_oom(error)


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)
