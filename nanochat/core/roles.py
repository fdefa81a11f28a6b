"""What a parameter does: the kinds that initialisation, weight decay, learning rates and µP tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

Role = Literal["embedding", "hidden", "residual", "head", "filter", "vector"]
"""embedding: rows looked up by token or position · hidden: a matrix inside a block · residual: a hidden matrix whose
outputs are added to the residual stream · head: the matrix that makes logits · filter: taps of a
depthwise convolution · vector: gains, biases, scalars, and
whatever else multiplies channel by channel."""


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter, by name; one that two modules share counts once, an embedding first of all.

    By default a table of `nn.Embedding` is an embedding, biases and what has fewer than two dimensions are vectors,
    the rest hidden. A module says otherwise in its attribute `roles`: {"o_proj.weight": "residual"}, the names
    being relative to itself; what an outer module says comes before what an inner one says.
    """
    found: dict[str, Role] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        found[name] = "vector" if parameter.ndim < 2 or name.endswith("bias") else "hidden"
    for prefix, module in reversed(list(model.named_modules())):
        said = getattr(module, "roles", None)
        for inner, role in said.items() if isinstance(said, Mapping) else ():
            name = f"{prefix}.{inner}" if prefix else inner
            if name in found:
                found[name] = role
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            found[names[id(module.weight)]] = "embedding"
    return found
