"""One run over two ranks: real processes that exchange gradients over gloo, and what becomes of them."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from nanochat.core.compose import CONF
from nanochat.core.errors import SpecError
from nanochat.core.provenance import origin
from nanochat.core.spec import dump
from nanochat.data.corpus import prepare
from nanochat.data.sequences import Sequences
from nanochat.logger.csv import read
from nanochat.run import child
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder, identify
from nanochat.run.ranks import check_ranks
from nanochat.run.spec import RunSpec
from nanochat.run.train import build_module, unsharded
from nanochat.trainer.callbacks.checkpoint import Checkpoint
from nanochat.trainer.control import Silent
from nanochat.trainer.fit import Batches, checkpoint_step, fit
from nanochat.trainer.ranks import ALONE, Ranks
from tests.runs import SMALL, small

pytestmark = pytest.mark.slow

ACCUMULATED = ("batch.micro=2", "stop.steps=5")
# What two ranks could get wrong. The chain of mtp stands beside the model, which FSDP does not shard.
SIGMOID = ("ffn=moe", "ffn.router=sigmoid", "ffn.gamma=0.01")
NOISY = ("ffn=moe", "ffn.router=gumbel", "model.dropout=0.1", "batch.isolate=true", "objective=mtp")
SHARED = {"ddp": [(), SIGMOID, NOISY], "fsdp": [(), (*SIGMOID, "optimizer=muon", "grad_clip=0.01")]}
CASES = [(strategy, i) for strategy, parts in SHARED.items() for i in range(len(parts))]


class StopAfter(Silent):
    """Asks to stop after so many steps; of several ranks only the first is asked."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def stop_requested(self) -> bool:
        self.steps -= 1
        return self.steps == 0


def steps(spec: RunSpec, cache: Path, *, ranks: Ranks, state: Path, stop: int | None = None) -> dict[str, Tensor]:
    """Train from the checkpoint in `state`, where there is one, to the end or to a stop; the weights."""
    corpus = prepare(spec.data, spec.tokenizer, cache=cache, context=spec.context)
    module = build_module(spec, ranks=ranks)
    first = checkpoint_step(state) if state.exists() else 0
    sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
    batches = Batches(sequences, count=spec.batch.tokens // spec.context, first=first, steps=spec.steps, ranks=ranks)
    control = StopAfter(stop) if stop and ranks.first else Silent()
    callbacks: list[Any] = [Checkpoint(state, keep={}, control=control, seconds=1e9, ranks=ranks)]
    assert fit(module, batches=batches, spec=spec.trainer, callbacks=callbacks, resume=state if first else None) == (
        first + stop if stop else spec.steps
    )
    return unsharded(spec, module).model.state_dict()


def case(folder: Path, strategy: str, i: int) -> tuple[RunSpec, Path]:
    """The Spec of a case, and the cache of its corpus."""
    spec, how = small(folder, *ACCUMULATED, *SHARED[strategy][i], f"trainer.strategy={strategy}")
    return spec, how.paths.cache


def in_a_rank(rank: int, folder: Path) -> None:
    """In every case: go on from the checkpoint of one process, and leave one of two ranks."""
    torch.set_num_threads(1)
    two = Ranks(rank=rank, count=2, local=rank, local_count=2)
    two.join(dist.FileStore(str(folder / "store"), 2), device="cpu")
    for strategy, i in CASES:
        spec, cache = case(folder, strategy, i)
        found = steps(spec, cache, ranks=two, state=folder / f"{strategy}-{i}-by-one.ckpt")
        if two.first:
            torch.save(found, folder / f"{strategy}-{i}.pt")
        steps(spec, cache, ranks=two, state=folder / f"{strategy}-{i}-by-two.ckpt", stop=2)
    two.leave()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and the checkpoints of two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    for strategy, i in CASES:
        spec, cache = case(folder, strategy, i)
        steps(spec, cache, ranks=ALONE, state=folder / f"{strategy}-{i}-by-one.ckpt", stop=2)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=in_a_rank, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    return folder


@pytest.mark.parametrize(("strategy", "i"), CASES)
def test_two_ranks_train_what_one_process_does(trained: Path, strategy: str, i: int):
    """The same weights in the end, whoever did the first two steps."""
    spec, cache = case(trained, strategy, i)
    expected = steps(spec, cache, ranks=ALONE, state=trained / f"{strategy}-{i}-alone.ckpt")
    before = build_module(spec).model.state_dict()
    assert any(not torch.equal(before[name], value) for name, value in expected.items())
    by_two = torch.load(trained / f"{strategy}-{i}.pt", weights_only=True)
    torch.testing.assert_close(by_two, expected, rtol=0, atol=1e-5)
    begun_by_two = trained / f"{strategy}-{i}-by-two.ckpt"
    assert checkpoint_step(begun_by_two) == 2
    resumed = steps(spec, cache, ranks=ALONE, state=begun_by_two)
    torch.testing.assert_close(resumed, expected, rtol=0, atol=1e-5)


# Long enough for its ranks to be met in the middle, many times.
LONG = (
    *(word for word in SMALL if not word.startswith(("stop.steps", "eval.evaluations"))),
    "stop.steps=100",
    "eval.evaluations=1",
    "lr.peak=1e-4",
    "trainer.strategy=ddp",
    "checkpoint=0.01",
)


class Started:
    """A run in a process as a study starts it, of two ranks."""

    def __init__(self, folder: RunFolder, spec: RunSpec, settings: Any) -> None:
        fork = multiprocessing.get_context("fork")
        self.channel, theirs = fork.Pipe()
        request = {
            "spec": dump(spec),
            "key": folder.key,
            "settings": dump(settings),
            "source": origin()._asdict(),
        }
        before = checkpoint_time(folder)
        self.process = fork.Process(target=child.main, args=(request, theirs), daemon=True)
        self.process.start()
        theirs.close()
        while checkpoint_time(folder) == before:
            assert self.process.is_alive(), (folder.path / "output.txt").read_text()
            time.sleep(0.02)
        [self.other] = psutil.Process(self.process.pid).children()

    def last_word(self) -> dict[str, Any]:
        message: dict[str, Any] = {"kind": "progress"}
        while message["kind"] == "progress":
            message = self.channel.recv()
        self.process.join()
        return message


def stop_torchrun(folder: RunFolder, *words: str) -> None:
    """Go on with a stored run by `torchrun`, as people type it, and send that SIGTERM after a new checkpoint."""
    before = checkpoint_time(folder)
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--nproc_per_node", "2", "-m", "nanochat.run"]
    command = [*torchrun, str(folder.spec_file), *words]
    process = subprocess.Popen(command, cwd=CONF.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while checkpoint_time(folder) == before:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()


def checkpoint_time(folder: RunFolder) -> int:
    return folder.state_file.stat().st_mtime_ns if folder.state_file.exists() else 0


def test_a_run_outlives_the_death_of_its_ranks(tmp_path: Path):
    """One rank after the other is killed, then `torchrun` is told to stop; in the end the run is what it would have
    been in one process."""
    spec, how = small(tmp_path, "devices=2", base=LONG)
    folder = RunFolder(how.paths.runs / identify(spec, cache=how.paths.cache))

    run = Started(folder, spec, how)
    run.other.kill()
    result = run.last_word()
    assert (result["status"], folder.result()["status"]) == ("failed", "failed")
    assert "rank 1 was killed by SIGKILL" in result["reason"]

    run = Started(folder, spec, how)
    run.process.kill()
    assert psutil.wait_procs([run.other], timeout=60)[1] == [], "left behind"
    assert folder.result() is None

    stop_torchrun(folder, f"paths.multirun={tmp_path}/multirun", "checkpoint=0.01")
    stopped = folder.result()
    assert stopped["status"] == "stopped" and checkpoint_step(folder.state_file) == stopped["steps"]

    found = execute(spec, settings=how.replace(devices=1), control=Silent())
    spec, how = small(tmp_path / "whole", base=LONG)
    expected = execute(spec, settings=how, control=Silent())
    whole = how.paths.runs / expected["key"]
    assert (found["status"], found["key"]) == ("complete", expected["key"])
    assert found["test"]["bpb"] == pytest.approx(expected["test"]["bpb"], abs=1e-3)
    losses = [[row["train_loss"] for row in read(path / "metrics.csv")] for path in (folder.path, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    starts = [line for line in folder.log_file.read_text().splitlines() if "training from step" in line]
    assert len({line.partition("from step")[2] for line in starts}) == 4
    assert [line.endswith(", over 2 ranks") for line in starts] == [True, True, True, False]


@pytest.mark.parametrize(
    ("words", "count", "message"),
    [
        ((), 2, r"devices=2: trainer\.strategy=single is one process; use trainer=ddp or fsdp, or devices=1"),
        (
            ("trainer.strategy=ddp",),
            3,
            r"batch\.tokens=256: its 8 sequences do not divide by devices=3; try 192 or",
        ),
        (
            ("trainer.strategy=ddp", "batch.tokens=384", "batch.micro=4"),
            2,
            r"batch\.micro=4: must divide the 6 sequences of each of devices=2; try 1, 2, 3 or 6",
        ),
        (("trainer.strategy=fsdp", "objective=mtp"), 2, r"objective=mtp: trains modules .* use trainer=ddp"),
        (("trainer.strategy=fsdp", "optimizer=sgd"), 2, r"optimizer=sgd: .* use trainer=ddp or another optimizer"),
        (("trainer.strategy=fsdp", "trainer.compile=true"), 2, r"trainer\.compile=True: is not supported"),
    ],
)
def test_what_ranks_cannot_share_is_refused_before_anything_is_spent(tmp_path: Path, words, count, message):
    spec, how = small(tmp_path, *words)
    with pytest.raises(SpecError, match=message):
        execute(spec, settings=how.replace(devices=count), control=Silent())
    assert not how.paths.root.exists()


def test_a_micro_batch_larger_than_a_share_is_the_share(tmp_path: Path):
    spec, _ = small(tmp_path, "trainer.strategy=ddp")
    assert spec.batch.micro == 8
    check_ranks(spec, count=2, local_count=2)
