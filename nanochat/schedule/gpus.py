"""Are the machine's GPUs free? By NVML, which sees everybody's processes, not only ours."""

from __future__ import annotations

import contextlib
from typing import Any

from nanochat.core.errors import MachineError, spec_error

IDLE_PERCENT = 5
"""Utilisation, in percent, from which on a GPU counts as in use."""


def busy(nvml: Any = None) -> list[str]:
    """What each GPU in use is busy with, in words; an empty list: all are idle.

    A GPU is idle where no compute process is on it and its utilisation is below `IDLE_PERCENT`. `nvml` is the module
    `pynvml`. Raises `SpecError` under the key `idle_gpus` where there is no GPU to ask.
    """
    if nvml is None:
        import pynvml as nvml  # type: ignore[no-redef]
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise _no_gpu(str(error)) from error
    try:
        count = nvml.nvmlDeviceGetCount()
        if not count:
            raise _no_gpu("NVML counts none")
        words = [_use(nvml, nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)]
    except nvml.NVMLError as error:
        raise MachineError(f"the GPUs cannot be asked whether they are idle ({error})") from error
    finally:
        nvml.nvmlShutdown()
    return [f"GPU {i}: {word}" for i, word in enumerate(words) if word]


def _use(nvml: Any, device: Any) -> str:
    """Empty where the GPU is idle. One that does not tell its utilisation (MIG) is known by its processes."""
    percent = 0
    with contextlib.suppress(nvml.NVMLError_NotSupported):
        percent = nvml.nvmlDeviceGetUtilizationRates(device).gpu
    processes = len(nvml.nvmlDeviceGetComputeRunningProcesses(device))
    return f"{processes} processes, {percent}%" if processes or percent >= IDLE_PERCENT else ""


def _no_gpu(reason: str) -> Exception:
    return spec_error("idle_gpus", True, f"there is no NVIDIA GPU on this machine ({reason})", "set it to false")
