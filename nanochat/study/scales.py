"""The same comparison at several sizes of the model: every arm once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nanochat.core.compose import compose_variant
from nanochat.core.errors import spec_error
from nanochat.run.spec import run_spec
from nanochat.study.axes import Arm, merge, typed_key

Scales = Mapping[str, tuple[str, ...]]


def named(scales: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Overrides by the name of the scale; a plain name is an option of `model`."""
    if isinstance(scales, Mapping):
        return {name: tuple(texts) for name, texts in scales.items()}
    return {name: (f"model={name}",) for name in scales}


def at_scales(arms: Sequence[Arm], scales: Scales, *, base: Sequence[str]) -> tuple[Arm, ...]:
    """Every arm at every scale, scale by scale; its own overrides come after those of the scale.

    Raises `SpecError` where two scales come to one model, as they do when something sets the size by hand.
    """
    if not scales:
        return tuple(arms)
    typed = {typed_key(text) for text in base}
    for name, texts in scales.items():
        for text in texts:
            if typed_key(text) in typed:
                raise spec_error("study.scales", name, f"sets {typed_key(text)}, which is set for all", "keep one")
    found = [
        replace(arm, name=f"{arm.name} @ {scale}", overrides=tuple(merge(texts, arm.overrides)), scale=scale)
        for scale, texts in scales.items()
        for arm in arms
    ]
    _check_sizes(found, list(scales), base=base)
    return tuple(found)


def _check_sizes(arms: Sequence[Arm], scales: Sequence[str], *, base: Sequence[str]) -> None:
    sizes: dict[tuple[str, int], str] = {}
    for arm in arms:
        size = run_spec(compose_variant(merge(base, arm.overrides), [])).resolve().cost.params
        other = sizes.setdefault((arm.alone, size), arm.scale)
        if other != arm.scale:
            rule = f"{other} and {arm.scale} come to the same size, {size:,} parameters, in arm '{arm.alone}'"
            raise spec_error("study.scales", list(scales), rule, "an experiment or an arm sets its depth or dim")
