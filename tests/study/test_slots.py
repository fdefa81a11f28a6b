"""Slots: what is laid out on which cores and GPUs, what a run's process sees of it, and who holds what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from nanochat.core.device import cores
from nanochat.core.errors import MachineError, SpecError
from nanochat.core.gpu import Gpu, chosen
from nanochat.study.claim import Claim, Claims
from nanochat.study.pool import Pool
from nanochat.study.slots import Slot, cpu_slots, gpu_slots, open_slots

GIB = 2**30
UUIDS = ["GPU-aa11", "GPU-ab22", "GPU-cc33"]
GPUS = [Gpu(uuid=uuid, index=i, name="H100", total=80 * GIB, free=40 * GIB) for i, uuid in enumerate(UUIDS)]
ASKED: dict[str, Any] = {
    "count": None,
    "gpus": None,
    "per_gpu": 1,
    "devices": 1,
    "threads": 1,
    "memory": lambda: None,
    "found": GPUS,
}


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, UUIDS),
        ("", []),
        ("-1", []),
        ("2,0", ["GPU-cc33", "GPU-aa11"]),
        ("GPU-ab", ["GPU-ab22"]),
        ("GPU-a", []),
        ("1,9,0", ["GPU-ab22"]),
        ("0,0", []),
        ("MIG-77, 1", ["MIG-77", "GPU-ab22"]),
    ],
)
def test_visible_gpus_are_named_as_cuda_reads_them(visible: str | None, expected: list[str]) -> None:
    assert chosen(visible, UUIDS) == expected


def test_slots_on_cpu_share_out_the_cores() -> None:
    slots = cpu_slots(devices=1, threads=2, cores=[0, 1, 2, 5, 6])
    assert [slot.label for slot in slots] == ["cpu 0-1", "cpu 2,5"]
    assert [slot.cores for slot in slots] == [(0, 1), (2, 5)]
    assert [slot.threads for slot in cpu_slots(devices=2, threads=2, cores=range(4))] == [2]


def test_slots_on_gpus_are_shares_or_groups() -> None:
    found = GPUS[:2]
    shares = gpu_slots(found, shares=2, devices=1, threads=3)
    assert [slot.label for slot in shares] == [f"gpu {i} share {k} of 2" for k in (1, 2) for i in (0, 1)]
    assert shares[1].environment == {
        "CUDA_VISIBLE_DEVICES": "GPU-ab22",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
    }
    [group] = gpu_slots(GPUS, shares=1, devices=2, threads=1)
    assert (group.label, group.environment["CUDA_VISIBLE_DEVICES"]) == ("gpus 0,1", "GPU-aa11,GPU-ab22")


def test_as_many_runs_share_a_gpu_as_fit_its_free_memory(tmp_path: Path) -> None:
    asked = {**ASKED, "per_gpu": "memory", "gpus": (1,), "folder": tmp_path}
    with open_slots("cuda", **{**asked, "memory": lambda: GIB}) as slots:
        assert len(slots) == min(40 * 10 // 18, cores())  # 1.2 GiB and 0.6 GiB for CUDA itself
    with pytest.raises(SpecError, match=r"(?s)about 48\.6 GiB.*40\.0 GiB free of 80\.0 GiB.*micro_tokens"):
        open_slots("cuda", **{**asked, "memory": lambda: 40 * GIB}).__enter__()
    with pytest.raises(SpecError, match="not known"):
        open_slots("cuda", **asked).__enter__()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"gpus": (3,)}, r"study\.gpus=3: no such GPU"),
        ({"devices": 4}, r"study\.devices=4"),
        ({"count": 4}, r"study\.slots=4: there is room for 3"),
    ],
)
def test_what_the_machine_has_not_is_refused(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(SpecError, match=word), open_slots("cuda", **{**ASKED, **changes, "folder": tmp_path}):
        pass


def test_parts_of_one_thing_overlap_by_what_they_cover() -> None:
    half = Claim("GPU-a", 2, 2)
    assert [half.overlaps(Claim("GPU-a", part, 3)) for part in (1, 2, 3)] == [False, True, True]
    assert half.overlaps(Claim("GPU-a", 1, 1)) and not half.overlaps(Claim("GPU-b", 1, 1))


HOLDER = """
import sys, time
from pathlib import Path
from nanochat.study.claim import Claim, Claims
with Claims(Path(sys.argv[1])) as claims:
    assert not claims.take([Claim(what, 1, int(of)) for what, of in (word.split(":") for word in sys.argv[2:])])
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def holding(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the first part of each `what:of`, killed with -9 at the end of the block."""
    command = [sys.executable, "-c", HOLDER, str(folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_shares_that_another_worker_holds_are_passed_over_until_it_dies(tmp_path: Path) -> None:
    asked = {**ASKED, "gpus": (0, 1), "folder": tmp_path}
    with holding(tmp_path, "GPU-aa11:4") as other:
        with open_slots("cuda", **asked) as slots:
            assert [(slot.number, slot.label) for slot in slots] == [(0, "gpu 1")]
        with open_slots("cuda", **{**asked, "gpus": (0,), "per_gpu": 2}) as slots:
            assert [slot.label for slot in slots] == ["gpu 0 share 2 of 2"]
        with pytest.raises(MachineError, match=rf"gpu 0: held by other workers \(process {other.pid}\)"):
            open_slots("cuda", **{**asked, "gpus": (0,)}).__enter__()
    with open_slots("cuda", **asked) as slots:
        assert [slot.label for slot in slots] == ["gpu 0", "gpu 1"]
        assert Claims(tmp_path).take([Claim("GPU-aa11", 4, 4)]) == [os.getpid()]
    assert Claims(tmp_path).take([Claim("GPU-aa11", 1, 1)]) == []


def test_a_run_on_cpu_does_without_the_cores_that_others_hold(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    asked = {**ASKED, "folder": tmp_path, "count": len(mine)}
    with holding(tmp_path, f"core-{mine[0]}:1"), open_slots("cpu", **asked) as slots:
        assert [slot.cores for slot in slots] == [*((core,) for core in mine[1:]), ()]
    with open_slots("cpu", **{**asked, "count": len(mine) + 1}) as slots:
        assert [slot.cores for slot in slots] == [()] * (len(mine) + 1)


def tell(request: dict[str, Any], channel: Connection) -> None:
    """A run that says what it sees of its slot."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    seen = {name: os.environ.get(name) for name in names}
    channel.send({**seen, "cores": tuple(sorted(os.sched_getaffinity(0))), "environment": request["environment"]})


def test_a_run_sees_the_devices_and_the_cores_of_its_slot_alone() -> None:
    core = min(os.sched_getaffinity(0))
    gpu, shared = gpu_slots(GPUS[:2], shares=1, devices=1, threads=1)
    [cpu] = cpu_slots(devices=1, threads=1, cores=[core])
    slots = [Slot(**{**vars(slot), "number": number}) for number, slot in enumerate((gpu, shared, cpu))]
    pool = Pool(tell, slots=slots, preload=())
    told: dict[int, dict[str, Any]] = {}
    try:
        for _ in slots:
            pool.start({}, tag=None)
        while pool.children:
            for child, messages, _ in pool.events(10.0):
                told[child.slot] = messages[0] if messages else told[child.slot]
    finally:
        pool.close()
    assert [told[n]["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["GPU-aa11", "GPU-ab22", None]
    assert [told[n]["environment"] for n in range(3)] == [dict(slot.environment) for slot in slots]
    assert told[2]["cores"] == (core,) and len(told[0]["cores"]) == cores()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
