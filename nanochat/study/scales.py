"""The same comparison at several sizes of the model: every arm once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nanochat.core.compose import compose_variant
from nanochat.core.errors import join_key, spec_error
from nanochat.run.spec import run_spec
from nanochat.study.axes import Arm, check_name, fixed_overrides, merge, typed_key

Scales = Mapping[str, tuple[str, ...]]


def named(scales: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Overrides by the name of the scale; a plain name is an option of `model`. Raises `SpecError` for one listed
    twice."""
    if isinstance(scales, Mapping):
        return {name: tuple(texts) for name, texts in scales.items()}
    if len(set(scales)) != len(scales):
        raise spec_error("study.scales", list(scales), "lists a scale twice")
    return {name: (f"model={name}",) for name in scales}


def at_scales(arms: Sequence[Arm], scales: Scales, *, base: Sequence[str]) -> tuple[Arm, ...]:
    """Every arm at every scale, scale by scale; its own overrides come after those of the scale.

    Raises `SpecError` where two scales come to one size, as they do when something sets the size by hand, and for what
    is no matter of a scale.
    """
    if not scales:
        return tuple(arms)
    typed = {typed_key(text).lstrip("+~") for text in base}
    for name, texts in scales.items():
        for key in fixed_overrides(join_key("study.scales", name), texts):
            if key in typed:
                raise spec_error("study.scales", name, f"sets {key}, which is set for all", "keep one")
    found = [
        replace(arm, name=f"{arm.name} @ {scale}", overrides=tuple(merge(texts, arm.overrides)), scale=scale)
        for scale, texts in scales.items()
        for arm in arms
    ]
    for arm in found:
        check_name(arm.name, [other.name for other in found])
    _check_sizes(found, list(scales), base=base)
    return tuple(found)


def _check_sizes(arms: Sequence[Arm], scales: Sequence[str], *, base: Sequence[str]) -> None:
    """A scale has parameters, or tokens, of its own."""
    sizes: dict[tuple[str, int, int], str] = {}
    for arm in arms:
        run = run_spec(compose_variant(merge(base, arm.overrides), [])).resolve()
        other = sizes.setdefault((arm.alone, run.cost.params, run.tokens), arm.scale)
        if other != arm.scale:
            rule = f"{other} and {arm.scale} come to one size, {run.cost.params:,} parameters, in arm '{arm.alone}'"
            raise spec_error("study.scales", list(scales), rule, "something else sets its depth or dim")
