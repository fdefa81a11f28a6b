"""Slots: the places in which a worker's runs run. CPU cores, a GPU, a share of one, or several GPUs.

Runs on CPU are pinned to cores that no other worker holds: two runs of one thread side by side took 1.3 to 2 times
as long unpinned (70 ms a step, pinned 37 ms, alone 35 ms), as the kernel kept putting both on one core.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nanochat.core.device import Device, cores
from nanochat.core.errors import MachineError, alternatives, spec_error
from nanochat.core.gpu import Gpu
from nanochat.study.claim import Claim, Claims, claims_folder

# What a run holds on a GPU for each byte that is counted: scratch space of operations, fragments.
MARGIN = 1.2

# What every process that uses a GPU holds there: CUDA's context, the workspaces of its libraries.
CONTEXT_BYTES = 600 * 2**20


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one run at a time.

    number: from 0, among the worker's · label: for people · environment: variables of the run's process · threads:
    CPU threads of the run, for each of its devices · cores: those that it is pinned to, empty for any · claims: what
    no other worker may use meanwhile.
    """

    number: int
    label: str
    environment: Mapping[str, str]
    threads: int
    cores: tuple[int, ...]
    claims: tuple[Claim, ...]


@contextlib.contextmanager
def open_slots(
    device: Device,
    *,
    count: int | None,
    gpus: tuple[int, ...] | None,
    per_gpu: int | Literal["memory"],
    devices: int,
    threads: int,
    memory: Callable[[], int | None],
    found: Sequence[Gpu],
    folder: Path | None = None,
) -> Iterator[list[Slot]]:
    """This worker's slots, held until the end of the block.

    count: at most so many; None for all that there is room for · gpus: indices of those to use, None for all ·
    per_gpu: runs at a time on each, or `memory` for as many as fit its free memory · devices: that one run is spread
    over · threads: CPU threads of a run for each of its devices · memory: bytes that the largest run trains in on one
    GPU, None if unknown · found: the GPUs of this machine · folder: where workers meet, None for the usual place.

    Raises `SpecError` for what this machine cannot give, `MachineError` where other workers hold all of it.
    """
    if device == "cpu":
        room = cpu_slots(devices=devices, threads=threads, cores=_core_numbers())
        count = count or max(1, cores() // (threads * devices))
        # More threads than cores: pinning some would only crowd the others together.
        room = room if count <= len(room) else []
    else:
        use = chosen_gpus(found, indices=gpus)
        shares = shares_by_memory(use, need=memory(), threads=threads) if per_gpu == "memory" else per_gpu
        room = gpu_slots(use, shares=shares, devices=devices, threads=threads)
        count = _checked(count, room)
    with Claims(folder or claims_folder()) as claims:
        held, holders = _take(room, claims=claims, count=count)
        if device == "cpu":
            held += [_unpinned(threads=threads)] * (count - len(held))
        elif not held:
            raise MachineError(
                f"{', '.join(slot.label for slot in room)}: held by other workers (process "
                f"{alternatives(sorted(holders))}); wait for them, stop them, or choose other GPUs with study.gpus"
            )
        yield [replace(slot, number=number) for number, slot in enumerate(held)]


def cpu_slots(*, devices: int, threads: int, cores: Sequence[int]) -> list[Slot]:
    """A slot for every `devices` × `threads` of the numbered `cores`; what is left over belongs to none."""
    size = devices * threads
    groups = [tuple(cores[i : i + size]) for i in range(0, len(cores) - size + 1, size)]
    return [
        replace(
            _unpinned(threads=threads),
            label=f"cpu {_span(group)}",
            cores=group,
            claims=tuple(Claim(f"core-{core}", 1, 1) for core in group),
        )
        for group in groups
    ]


def gpu_slots(found: Sequence[Gpu], *, shares: int | Mapping[str, int], devices: int, threads: int) -> list[Slot]:
    """`shares` slots (one number, or one for each UUID) on every group of `devices` GPUs, group by group first: the
    first slots of a worker that wants few are on different GPUs."""
    if devices > len(found):
        remedy = f"use study.devices={len(found)} or a machine with more"
        raise spec_error("study.devices", devices, f"a run needs {devices} GPUs and may use {_list(found)}", remedy)
    groups = [found[i : i + devices] for i in range(0, len(found) - devices + 1, devices)]
    counts = [min(shares if isinstance(shares, int) else shares[gpu.uuid] for gpu in group) for group in groups]
    return [
        Slot(
            number=0,
            label=_label([gpu.index for gpu in group], share=share, of=of),
            environment={"CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in group), **thread_variables(threads)},
            threads=threads,
            cores=(),
            claims=tuple(Claim(gpu.uuid, share, of) for gpu in group),
        )
        for share in range(1, max(counts) + 1)
        for group, of in zip(groups, counts, strict=True)
        if share <= of
    ]


def chosen_gpus(found: Sequence[Gpu], *, indices: tuple[int, ...] | None) -> list[Gpu]:
    """The GPUs with these indices, all for None. Raises `SpecError` where one is not there."""
    if not found:
        raise MachineError("no NVIDIA GPU is visible to this process; see nvidia-smi and CUDA_VISIBLE_DEVICES")
    if indices is None:
        return list(found)
    known = {gpu.index: gpu for gpu in found}
    for index in indices:
        if index not in known:
            raise spec_error("study.gpus", index, "no such GPU", f"this process may use {_list(found)}")
    return [known[index] for index in dict.fromkeys(indices)]


def shares_by_memory(found: Sequence[Gpu], *, need: int | None, threads: int) -> dict[str, int]:
    """How many runs fit each GPU's free memory, by its UUID, but not more than have CPU cores to drive them.

    Raises `SpecError` where a GPU has not room for one.
    """
    if need is None:
        rule = "how much memory a run needs is not known for this model"
        raise spec_error("study.per_gpu", "memory", rule, "give a number, e.g. study.per_gpu=1")
    whole = int(MARGIN * need) + CONTEXT_BYTES
    most = max(1, cores() // (threads * len(found)))
    shares = {gpu.uuid: min(most, gpu.free // whole) for gpu in found}
    for gpu in found:
        if not shares[gpu.uuid]:
            raise spec_error(
                "study.per_gpu",
                "memory",
                f"the largest arm needs about {_gib(whole)}, and GPU {gpu.index} ({gpu.name}) has {_gib(gpu.free)} "
                f"free of {_gib(gpu.total)}",
                "lower trainer.micro_tokens, free the GPU, or choose others with study.gpus",
            )
    return shares


def thread_variables(threads: int) -> dict[str, str]:
    """The environment that gives a process, and what it starts, so many CPU threads."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def _checked(count: int | None, room: Sequence[Slot]) -> int:
    """How many of the slots there is room for are wanted."""
    if count is not None and count > len(room):
        remedy = "raise study.per_gpu, use more GPUs, or leave study.slots at null"
        raise spec_error("study.slots", count, f"there is room for {len(room)} at a time on the GPUs", remedy)
    return count or len(room)


def _take(room: Sequence[Slot], *, claims: Claims, count: int) -> tuple[list[Slot], set[int]]:
    """The first `count` slots of `room` that nobody else holds, and who holds those passed over."""
    held: list[Slot] = []
    others: set[int] = set()
    for slot in room:
        if len(held) == count:
            break
        holders = claims.take(slot.claims)
        others.update(holders)
        if not holders:
            held.append(slot)
    return held, others


def _unpinned(*, threads: int) -> Slot:
    return Slot(number=0, label="cpu", environment=thread_variables(threads), threads=threads, cores=(), claims=())


def _core_numbers() -> list[int]:
    """The cores this process may use; none where the system cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _label(indices: Sequence[int], *, share: int, of: int) -> str:
    name = f"gpu {indices[0]}" if len(indices) == 1 else f"gpus {','.join(map(str, indices))}"
    return name if of == 1 else f"{name} share {share} of {of}"


def _span(numbers: Sequence[int]) -> str:
    """`0-3`, `5`, or `0,2` for what is no range."""
    if len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))


def _list(found: Sequence[Gpu]) -> str:
    return ", ".join(f"GPU {gpu.index} ({gpu.name})" for gpu in found)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
