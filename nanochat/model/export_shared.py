"""What the formats of `transformers` have in common: which part each block has, what is refused, reordered weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.attention import hybrid as attention_hybrid
from nanochat.core.errors import Problem
from nanochat.core.layers import part_at
from nanochat.core.spec import Spec, option_of
from nanochat.ffn import hybrid as ffn_hybrid
from nanochat.ffn.geglu import GEGLUSpec
from nanochat.ffn.swiglu import SwiGLUSpec

Entries = dict[str, Any]
"""Some keys of a config.json and their values."""

ACTIVATIONS: dict[type[Spec], str] = {SwiGLUSpec: "silu", GEGLUSpec: "gelu"}
"""The gated FFNs and the name of their activation there."""

HYBRIDS = (attention_hybrid.HybridSpec, ffn_hybrid.HybridSpec)


def part(spec: Spec, *, key: str, layer: int) -> tuple[str, Spec]:
    """The part that block `layer` has, with its key, whatever hybrids stand around it."""
    while isinstance(spec, HYBRIDS):
        name = part_at(spec.pattern, layer)
        key, spec = f"{key}.parts.{name}", spec.parts[name]
    return key, spec


def per_block(
    spec: Spec, *, key: str, depth: int, describe: Callable[..., tuple[Entries, list[Problem]]]
) -> tuple[list[Entries], list[Problem]]:
    """What `describe(part, key=…)` says of the part that each block has, and the problems of each part once."""
    said: dict[str, tuple[Entries, list[Problem]]] = {}
    blocks: list[str] = []
    for layer in range(depth):
        at, one = part(spec, key=key, layer=layer)
        said.setdefault(at, describe(one, key=at))
        blocks.append(at)
    return [said[at][0] for at in blocks], [problem for _, problems in said.values() for problem in problems]


def must_be_off(spec: Spec, *, key: str, known: Collection[str], target: str) -> list[Problem]:
    """A problem for every field outside `known` that is neither null, false, 0 nor `none`: the target has no such
    thing. So a field that comes to a Spec later is refused until somebody says what it is called over there."""
    problems = []
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if name not in known and value not in (None, False, "none"):
            off = "false" if value is True else "none" if isinstance(value, str) else "null"
            full = f"{key}.{name}"
            problems.append(differs(full, value, rule=f"{target} has no such thing", right=off))
    return problems


def differs(key: str, value: Any, *, rule: str, right: str) -> Problem:
    """A field whose value the target has not, and the value with which a model can be exported."""
    shown = str(value).lower() if isinstance(value, bool) else value
    return Problem(key=key, value=shown, rule=rule, remedy=f"train with {key}={right}")


def no_such(spec: Spec, *, key: str, target: str, what: str, remedy: str) -> Problem:
    """The target has another kind of part in this place."""
    return Problem(key=key, value=option_of(spec), rule=f"{target} has no such {what}", remedy=f"train with {remedy}")


def agreed(entries: Sequence[Entries], *, key: str, target: str) -> tuple[Entries, list[Problem]]:
    """The entries that all blocks have in common, and a problem where blocks differ."""
    first = entries[0] if entries else {}
    differ = sorted({name for other in entries for name in first if other.get(name, first[name]) != first[name]})
    rule = f"blocks differ in {', '.join(differ)}, those of {target} may not"
    return first, [Problem(key=key, rule=rule, remedy="give all blocks one shape")] if differ else []


def dense_entries(spec: Spec, *, key: str, target: str) -> tuple[Entries, list[Problem]]:
    """A gated FFN's width and activation; a problem for any other FFN."""
    if type(spec) not in ACTIVATIONS:
        return {}, [no_such(spec, key=key, target=target, what="FFN", remedy=f"{key}=swiglu or geglu")]
    problems = must_be_off(spec, key=key, known={"hidden"}, target=target)
    return {"intermediate_size": getattr(spec, "hidden"), "hidden_act": ACTIVATIONS[type(spec)]}, problems  # noqa: B009


def halves_from_pairs(width: int) -> Int[Tensor, " width"]:
    """The order that brings rotary pairs (0, 1), (2, 3), … to (0, width/2), (1, width/2 + 1), …: first those."""
    return torch.arange(width).view(-1, 2).T.flatten()


def pairs_from_halves(width: int) -> Int[Tensor, " width"]:
    """The inverse of `halves_from_pairs`."""
    return torch.arange(width).view(2, -1).T.flatten()


def reorder(
    weight: Float[Tensor, "rows *inputs"], order: Int[Tensor, " width"] | None
) -> Float[Tensor, "rows *inputs"]:
    """The rows of every head, `width` of them, in another order; None leaves them."""
    if order is None:
        return weight
    return weight.unflatten(0, (-1, len(order)))[:, order].flatten(0, 1)


def weight_of(module: nn.Module, name: str) -> Tensor:
    """A submodule's weight."""
    weight = module.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight
