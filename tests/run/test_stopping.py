"""Asked to stop, a run ends soon, whatever it is doing, and nothing trained is lost."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nanochat.logger.csv import read
from nanochat.run.folder import RunFolder
from nanochat.trainer.callbacks.signals import OwnSignals
from nanochat.trainer.fit import checkpoint_step
from tests.run.children import Child
from tests.run.listener import Listener
from tests.runs import run_small

TIMINGS = {"seconds", "tokens_per_second", "memory_mib"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict[str, Any], RunFolder, list[tuple[int, float]]]:
    """An undisturbed run: it validates after 1024 and 2048 tokens."""
    listener = Listener()
    result, folder = run_small(tmp_path_factory.mktemp("whole"), control=listener)
    return result, folder, listener.heard


def rows(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in read(folder.metrics_file)]


def same(result: dict[str, Any], folder: RunFolder, *, whole: Any) -> None:
    expected, other, _ = whole
    assert (result["status"], result["test"], result["valid"]) == ("complete", expected["test"], expected["valid"])
    a, b = load_file(folder.model_file), load_file(other.model_file)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert rows(folder) == rows(other)


@pytest.mark.parametrize(
    ("during", "tokens", "steps"),
    [("data", 0, 0), ("train", 768, 3), ("valid", 1024, 4), ("valid", 2048, 8), ("test", 2048, 8)],
)
def test_a_request_to_stop_is_heeded_in_every_phase(tmp_path, whole, during, tokens, steps):
    """Twice: the run that goes on is stopped in the same place once more."""
    for _ in range(1 if during == "train" else 2):
        listener = Listener(tokens, during=during)
        stopped, folder = run_small(tmp_path, control=listener)
        assert (stopped["status"], stopped["steps"], stopped["tokens"]) == ("stopped", steps, 256 * steps)
        assert not folder.model_file.exists() and folder.state_file.exists() == (steps > 0)
        assert steps == 0 or checkpoint_step(folder.state_file) == steps
        # A validation that was cut short is neither logged nor reported.
        given = tokens + (during == "test")
        assert listener.heard == [report for report in whole[2] if report[0] < given]
    listener = Listener()
    result, folder = run_small(tmp_path, control=listener)
    assert listener.heard == whole[2]
    same(result, folder, whole=whole)
    assert not folder.state_file.exists()


@pytest.mark.parametrize("phase", ["data", "train", "valid", "test"])
def test_sigterm_in_every_phase(tmp_path, whole, phase):
    with Child(tmp_path) as child:
        child.until(kind="progress", phase=phase)
        assert child.process.pid is not None
        os.kill(child.process.pid, signal.SIGTERM)
        result = child.result()
        assert result["status"] in ("stopped", "complete")
        child.process.join()
        assert child.process.exitcode == 0
    result, folder = run_small(tmp_path)
    same(result, folder, whole=whole)


def test_killed_while_it_is_scored_a_run_need_not_be_trained_again(tmp_path, whole):
    with Child(tmp_path, "checkpoint=1000.0") as child:
        child.until(kind="progress", phase="valid", tokens=2048)
    result, folder = run_small(tmp_path)
    same(result, folder, whole=whole)
    assert "training from step 8 of 8" in folder.log_file.read_text()


def test_no_moment_in_which_a_signal_ends_the_process(tmp_path, monkeypatch):
    """Lightning handles SIGTERM itself from shortly before training begins."""
    original, received = OwnSignals.on_train_start, []

    def signalled(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGTERM)
        original(self, trainer, pl_module)

    monkeypatch.setattr(OwnSignals, "on_train_start", signalled)
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        assert run_small(tmp_path, "stop.steps=2")[0]["status"] == "complete"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [1]
