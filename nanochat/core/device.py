"""Which device a run computes on, with how many threads, and how much memory it used."""

from __future__ import annotations

import os
import resource
from typing import Literal

from nanochat.core.errors import spec_error

Device = Literal["cpu", "cuda"]


def resolve_device(asked: Literal["auto", "cpu", "cuda"]) -> Device:
    """`auto` is CUDA where there is a GPU; asking for a GPU that is not there is refused, never replaced."""
    import torch

    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise spec_error("device", asked, "no CUDA device is visible", "use trainer=cpu")
    return "cuda" if asked != "cpu" and found else "cpu"


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mib(device: str) -> float:
    """Highest memory so far: allocated on the GPU, or resident in this process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
