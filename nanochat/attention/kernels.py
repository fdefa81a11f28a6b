"""The kernels of softmax attention, and what each of them can do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from nanochat.attention import flash
from nanochat.attention.chunked import chunked
from nanochat.attention.flex import flex
from nanochat.attention.softmax import Kernel, fused, naive
from nanochat.core.errors import Problem, SpecError, alternatives, spec_error

KernelName = Literal["sdpa", "chunked", "flex", "flash", "naive"]

KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {"sdpa": fused, "chunked": chunked, "flex": flex, "flash": flash.flash, "naive": naive}
)
LACKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"soft_cap": ("sdpa", "chunked"), "sinks": ("flash",), "bias": ("flash",)}
)
"""The kernels that cannot do something: bound the scores, add sinks, add the bias of a position scheme."""

LEAST_CHANNELS: Mapping[str, int] = MappingProxyType({"flex": 16})
MOST_CHANNELS: Mapping[str, int] = MappingProxyType({"flash": flash.WIDEST})
"""Of a head, where a kernel has such a limit on CUDA."""


def unable(kernel: KernelName, feature: str, *, used: str) -> list[Problem]:
    """Why `kernel` cannot do `feature`, which is used as the text `used` says; empty where it can."""
    if kernel not in LACKS[feature]:
        return []
    able = [name for name in KERNELS if name not in LACKS[feature] and name != "chunked"]
    return [Problem(key="kernel", value=kernel, rule=f"cannot do {used}", remedy=f"use {alternatives(able)}")]


def check_kernel(kernel: KernelName, *, head_dim: int, window: int | None, soft_cap: float | None, sinks: bool) -> None:
    """Raises `SpecError` on `kernel` with all that it cannot do of this."""
    wrong: list[Problem] = []
    if soft_cap is not None:
        wrong += unable(kernel, "soft_cap", used=f"soft_cap={soft_cap:g}")
    if sinks:
        wrong += unable(kernel, "sinks", used="sinks=true")
    if kernel == "chunked" and window is None:
        rule = "goes by chunks of the window, and window is null"
        wrong.append(Problem(key="kernel", value=kernel, rule=rule, remedy="set window, or use sdpa"))
    if head_dim < LEAST_CHANNELS.get(kernel, 1):
        rule = f"takes heads of {LEAST_CHANNELS[kernel]} channels at least, and head_dim={head_dim}"
        wrong.append(Problem(key="kernel", value=kernel, rule=rule, remedy="use sdpa, or wider heads"))
    if head_dim > MOST_CHANNELS.get(kernel, head_dim):
        rule = f"takes heads of {MOST_CHANNELS[kernel]} channels at most, and head_dim={head_dim}"
        wrong.append(Problem(key="kernel", value=kernel, rule=rule, remedy="use sdpa, or narrower heads"))
    if wrong:
        raise SpecError(wrong)


def check_device(kernel: KernelName, device: str, *, capped: bool) -> None:
    """Raises `SpecError` on `kernel` where it cannot train on `device`, or its package is missing there.

    capped: whether there is a soft cap, which narrows what is proposed instead.
    """
    if kernel in ("flex", "flash") and device == "cpu":
        rule = "trains on CUDA alone, and this run trains on a CPU"
        remedy = (
            "use naive, which can bound the scores there" if capped else "use sdpa, chunked within a window, or naive"
        )
        raise spec_error("kernel", kernel, rule, remedy)
    if kernel == "flash" and not flash.installed():
        rule = "needs the package flash-attn, which is not installed"
        other = "flex" if capped else "sdpa or flex"
        raise spec_error("kernel", kernel, rule, f"pip install 'nanochat[flash]' beside CUDA, or use {other}")
