"""Telling a want of memory from other failures: the one that a smaller micro-batch may mend."""

from __future__ import annotations

import errno

import torch

# What torch raises as a plain RuntimeError: its allocator on CPU, the system, C++ itself, a kernel's own buffers on a
# GPU, and CUDA where even its first few hundred megabytes do not fit beside another process.
PHRASES = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "Cannot allocate memory",
    "bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_oom(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on the host or on a device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)
