"""Which combinations of `a,b` choices make arms: all of them, some side by side, some not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanochat.core.compose import Override, Values, value_of
from nanochat.core.errors import nearest, spec_error

# The values of one factor of the product: at each, one key and text, or several that advance together.
Choices = Sequence[Sequence[tuple[str, str]]]


def zip_choices(commas: Sequence[Override], zipped: Sequence[Sequence[str]]) -> list[Choices]:
    """The factors of the product: one for each choice, one for each group of zipped choices, in the order typed.

    Raises `SpecError` for zipped keys that have no choices, unequally many, or are zipped twice.
    """
    by_key = {o.text.partition("=")[0].strip().lstrip("+~"): o for o in commas}
    group_of: dict[str, tuple[str, ...]] = {}
    for keys in zipped:
        for key in keys:
            if key not in by_key:
                raise spec_error("study.zip", key, "has no choices a,b to advance", nearest(key, by_key))
            if key in group_of or list(keys).count(key) > 1:
                raise spec_error("study.zip", key, "is zipped twice")
            group_of[key] = tuple(keys)
        lengths = {key: len(_pairs(by_key[key])) for key in keys}
        if len(set(lengths.values())) > 1:
            counted = ", ".join(f"{key} has {count}" for key, count in lengths.items())
            raise spec_error("study.zip", list(keys), f"needs equally many choices; {counted}")
    factors: list[Choices] = []
    for key in by_key:
        keys = group_of.get(key, (key,))
        if key == next(k for k in by_key if k in keys):
            factors.append([list(point) for point in zip(*(_pairs(by_key[k]) for k in keys), strict=True)])
    return factors


def excluded(overrides: Sequence[str], combination: Mapping[str, Any]) -> bool:
    """Whether an arm that these overrides make has all the values of a combination."""
    own = {text.partition("=")[0].lstrip("+~"): value_of(text) for text in overrides}
    return bool(combination) and all(key in own and same(own[key], value) for key, value in combination.items())


def same(one: Any, other: Any) -> bool:
    """Whether two values are one: 2 is 2.0, but 1 is not `true`."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _pairs(override: Override) -> list[tuple[str, str]]:
    assert isinstance(override.sweep, Values)
    key = override.text.partition("=")[0].strip()
    return [(key, text) for text in override.sweep.texts]
