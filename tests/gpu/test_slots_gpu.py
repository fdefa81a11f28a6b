"""The GPUs that slots are made of, beside what torch says of them, and what a run's process sees."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.core.gpu import gpus
from nanochat.study.pool import Pool
from nanochat.study.slots import open_slots

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_discovery_finds_what_cuda_does() -> None:
    found = gpus()
    assert len(found) == torch.cuda.device_count()
    for gpu in found:
        there = torch.cuda.get_device_properties(gpu.index)
        assert gpu.name == there.name
        assert gpu.uuid.removeprefix("GPU-").removeprefix("MIG-") == str(there.uuid)
        assert 0 < gpu.free <= gpu.total
        assert gpu.total == pytest.approx(there.total_memory, rel=0.05)


def see(request: dict[str, Any], channel: Connection) -> None:
    """A run that says which devices CUDA shows it, having used one."""
    count = torch.cuda.device_count()
    value = torch.ones(3, device="cuda").sum().item()
    channel.send({"count": count, "sum": value, "uuid": str(torch.cuda.get_device_properties(0).uuid)})


def test_a_run_sees_the_one_gpu_of_its_slot(tmp_path: Path) -> None:
    found = gpus()
    asked: dict[str, Any] = {"count": None, "gpus": None, "devices": 1, "threads": 1, "memory": lambda: 2**30}
    with open_slots("cuda", **asked, per_gpu=2, found=found, folder=tmp_path) as slots:
        assert len(slots) == 2 * len(found)
        pool = Pool(see, slots=slots, preload=("torch",))
        told: dict[int, dict[str, Any]] = {}
        try:
            for _ in slots:
                pool.start({}, tag=None)
            while pool.children:
                for child, messages, _ in pool.events(60.0):
                    told[child.slot] = messages[0] if messages else told[child.slot]
        finally:
            pool.close()
    for slot in slots:
        assert told[slot.number]["count"] == 1 and told[slot.number]["sum"] == 3
        assert slot.environment["CUDA_VISIBLE_DEVICES"].endswith(told[slot.number]["uuid"])
    with open_slots("cuda", **asked, per_gpu="memory", found=found, folder=tmp_path) as slots:
        assert len(slots) >= 1
