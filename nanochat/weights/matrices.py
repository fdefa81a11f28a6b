"""The matrices of a model: which of its parameters are linear maps, and what each is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from nanochat.core.roles import Role, roles

KINDS = ("attention", "attention output", "ffn", "ffn output", "embedding", "head")
"""What a matrix is for. An output writes to the residual stream; a router's matrix and experts' are an FFN's."""

NO_MAP: dict[Role, str] = {
    "filter": "the spectrum of filters, a convolution's taps: they map no channel to another",
    "vector": "the spectrum of gains, biases and scalars, which are no matrices",
}
"""Parameters of these roles are no matrices, in words."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """label: its name as people read it · kind: one of `KINDS` · layer: its block, None outside blocks."""

    label: str
    kind: str
    layer: int | None
    weight: Float[Tensor, "out inputs"]


def matrices(model: nn.Module) -> Iterator[Matrix]:
    """Every matrix of the model, in the order of its parameters; stacked ones, of experts, one by one."""
    found = roles(model)
    for name, parameter in model.named_parameters():
        if found[name] in NO_MAP:
            continue
        block = re.match(r"blocks\.(\d+)\.(\w+)\.", name)
        about = {"kind": _kind(found[name], part=block[2] if block else ""), "layer": int(block[1]) if block else None}
        label = name.removesuffix(".weight")
        if block:
            label = f"block {block[1]} {block[2]} {label[block.end() :]}"
        weight = parameter.detach()
        if weight.ndim == 2:
            yield Matrix(label=label, weight=weight, **about)
            continue
        assert weight.ndim == 3, f"{name}: a parameter of {weight.ndim} dimensions"
        for i, single in enumerate(weight):
            yield Matrix(label=f"{label} {i}", weight=single, **about)


def left_out(model: nn.Module) -> list[str]:
    """Which parameters are no matrices."""
    counts: dict[Role, int] = {}
    found = roles(model)
    for name, parameter in model.named_parameters():
        counts[found[name]] = counts.get(found[name], 0) + parameter.numel()
    return [f"{why} ({counts[role]:,} parameters)" for role, why in NO_MAP.items() if role in counts]


def _kind(role: Role, *, part: str) -> str:
    if role in ("embedding", "head"):
        return role
    part = part if part in ("attention", "ffn") else "attention"
    return f"{part} output" if role == "residual" else part
