"""The GPUs of this machine, found by NVML: asking CUDA would wake it, and a process that woke it cannot fork."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pynvml

from nanochat.core.errors import MachineError


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, or one MIG instance of one.

    uuid: what CUDA_VISIBLE_DEVICES takes · index: its number for people, counted as nvidia-smi counts among those that
    this process may use · total, free: bytes of memory, `free` as it was when found.
    """

    uuid: str
    index: int
    name: str
    total: int
    free: int


def gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this process, in its order; none where there is no driver.

    Raises `MachineError` where the driver is there but does not answer.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        every = [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
        return [_found(uuid, i) for i, uuid in enumerate(chosen(os.environ.get("CUDA_VISIBLE_DEVICES"), every))]
    except pynvml.NVMLError as error:
        raise MachineError(f"the NVIDIA driver does not answer ({error}); nvidia-smi shows more") from error
    finally:
        pynvml.nvmlShutdown()


def chosen(visible: str | None, every: Sequence[str]) -> list[str]:
    """The UUIDs that a value of CUDA_VISIBLE_DEVICES names, of `every` GPU in nvidia-smi's order.

    CUDA's own rules: indices, or UUIDs that may be cut short; the first entry that names nothing ends the list, and
    one named twice leaves nothing. MIG instances are taken at their word: only a handle on them shows whether they are
    there. (CUDA itself counts the fastest first unless CUDA_DEVICE_ORDER=PCI_BUS_ID: with unlike GPUs, use UUIDs.)
    """
    if visible is None:
        return list(every)
    found: list[str] = []
    for word in (text.strip() for text in visible.split(",")):
        uuid = word if word.startswith("MIG-") else _named(word, every)
        if uuid is None:
            break
        found.append(uuid)
    return found if len(set(found)) == len(found) else []


def _named(word: str, every: Sequence[str]) -> str | None:
    if word.isdecimal():
        return every[int(word)] if int(word) < len(every) else None
    matches = [uuid for uuid in every if word.startswith("GPU-") and uuid.startswith(word)]
    return matches[0] if len(matches) == 1 else None


def _found(uuid: str, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    return Gpu(uuid=uuid, index=index, name=name, total=int(memory.total), free=int(memory.free))
