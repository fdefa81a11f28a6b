"""Axes that exist only under one choice of a group: `attention.kv_lora_rank` under the mla of `choice(mla, gqa)`.

Groups have parts that are groups: `ffn.expert.activation` is there under the mlp of `ffn@ffn.expert=choice(mlp,
swiglu)`, and that under the moe of `ffn=choice(moe, swiglu)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nanochat.core.compose import Choice, Interval, compose
from nanochat.core.errors import spec_error
from nanochat.study.axes import Arm, Axis, merge

Params = Mapping[str, Any]

MISSING = object()


def with_conditions(arm: Arm, *, base: Sequence[str]) -> Arm:
    """The arm with each axis bound to the choices under which its key exists, those that decide coming first.

    Raises `SpecError` for a key that exists under none of them.
    """
    bound: dict[str, Axis] = {}
    for axis in sorted(arm.axes, key=lambda axis: _place(axis.key).count(".")):  # a group before its parts
        choices = [other for other in bound.values() if isinstance(other.domain, Choice)]
        bound[axis.key] = _bound(axis, choices, arm=arm, base=base)
    axes = [bound[axis.key] for axis in arm.axes]
    return replace(arm, axes=tuple(sorted(axes, key=lambda axis: len(under(axis, axes)))))


def under(axis: Axis, axes: Sequence[Axis]) -> dict[str, str]:
    """Choices under which an axis exists: of each that decides on it, and of what decides on that, the first."""
    found: dict[str, str] = {}
    for key, values in axis.when:
        decider = next(other for other in axes if other.key == key)
        found |= {**under(decider, axes), key: values[0]}
    return found


def active(axes: Sequence[Axis], params: Params) -> dict[str, Any]:
    """The values of `params` that exist beside one another, in the order of the axes."""
    kept: dict[str, Any] = {}
    for axis in axes:
        if axis.key in params and axis.active(kept):
            kept[axis.key] = params[axis.key]
    return kept


def probes(axes: Sequence[Axis], *, first: Params) -> list[dict[str, Any]]:
    """Values on every axis, to see whether they make a run; once for each value that others depend on.

    Real axes take one from the middle that is not whole by accident: `model.depth=interval(1, 4)` is a mistake.
    """
    middle = {axis.key: _probe(axis, first=first) for axis in axes}
    above = [({**under(axis, axes), key: value}) for axis in axes for key, values in axis.when for value in values]
    found = [active(axes, {**middle, **choices}) for choices in (*above, {})]
    return [params for i, params in enumerate(found) if params not in found[:i]]


def corners(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Values on every axis, one of them at an end of its range or at one of its choices, the others in the middle."""
    middle = {axis.key: _probe(axis, first={}) for axis in axes}
    return [active(axes, {**middle, **under(axis, axes), axis.key: end}) for axis in axes for end in _ends(axis.domain)]


def lookup(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The value under a dotted key, `default` where there is none."""
    value: Any = config
    for part in key.lstrip("+").split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def _bound(axis: Axis, choices: Sequence[Axis], *, arm: Arm, base: Sequence[str]) -> Axis:
    """The axis with the one group, the nearest above it, whose choice decides whether its key exists, if there is one.

    `choices`: those above it, bound already.
    """
    place = _place(axis.key)
    above = [choice for choice in choices if place.startswith(_place(choice.key) + ".")]
    if not above:
        return axis
    choice = max(above, key=lambda choice: len(_place(choice.key)))
    assert isinstance(choice.domain, Choice)
    texts = [f"{key}={text}" for key, text in under(choice, choices).items()]
    having = tuple(
        text
        for text in choice.domain.texts
        if lookup(compose(merge(base, arm.overrides, texts, [f"{choice.key}={text}"])), place, MISSING) is not MISSING
    )
    if not having:
        remedy = f"name a field that one of {', '.join(choice.domain.texts)} has"
        raise spec_error(axis.key, None, f"is a field of no choice of {choice.key}", remedy)
    return replace(axis, when=choice.when if having == choice.domain.texts else ((choice.key, having),))


def _place(key: str) -> str:
    """Where in the config a key is: `ffn@ffn.expert` at `ffn.expert`."""
    group, _, package = key.lstrip("+").partition("@")
    return package or group.replace("/", ".")


def _ends(domain: Interval | Choice) -> tuple[Any, ...]:
    if isinstance(domain, Choice):
        return domain.texts
    return (int(domain.low), int(domain.high)) if domain.integer else (domain.low, domain.high)


def _probe(axis: Axis, *, first: Params) -> Any:
    domain = axis.domain
    if isinstance(domain, Interval) and not domain.integer:
        return domain.low + 0.381966 * (domain.high - domain.low)
    return first.get(axis.key, domain.texts[0] if isinstance(domain, Choice) else int(domain.low))
