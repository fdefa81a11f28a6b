"""Arms made equal in size before they are compared: one width of each is solved for, from costs alone."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from nanochat.core.compose import compose_variant
from nanochat.core.errors import SpecError, spec_error
from nanochat.core.spec import Share, Spec, dump
from nanochat.run.spec import RunSpec, run_spec
from nanochat.study.axes import Arm, merge, typed_key
from nanochat.study.conditions import corners, lookup, with_conditions
from nanochat.study.definition import override_texts
from nanochat.study.matched import Matched
from nanochat.study.solve import solve

COSTS: dict[str, Callable[[RunSpec], float]] = {
    "params": lambda run: run.cost.params,
    "active_params": lambda run: run.cost.active_params,
    "flops": lambda run: run.flops,
    "state_bytes": lambda run: run.cost.state_bytes,
}


class MatchSpec(Spec):
    """What arms are to have in common.

    by: what is made equal · adjust: the key that is solved for, of several the first that an arm has; null: nothing is,
    arms that differ are refused · tolerance: the largest relative difference to the arm that the others are matched to.
    """

    by: Literal["params", "active_params", "flops", "state_bytes", "none"]
    adjust: str | tuple[str, ...] | None
    tolerance: Share

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.adjust,) if isinstance(self.adjust, str) else self.adjust or ()


def match(arms: Sequence[Arm], spec: MatchSpec, *, base: Sequence[str], to: Arm) -> tuple[list[Arm], list[Matched]]:
    """The arms with their adjusted keys, and how well each is matched to the arm `to`.

    Raises `SpecError` where an arm stays beyond the tolerance, with the nearest value that can be reached, and where
    what is tuned inside an arm would undo the match.
    """
    if spec.by == "none" or len(arms) == 1:
        return list(arms), []
    target = _cost(_config(to, base), spec.by)
    kept, found = [], []
    for arm in arms:
        if arm is not to:
            arm, how = _match(arm, spec, base=base, to=to.name, target=target)
            found.append(how)
        _check_axes(arm, spec, base=base, target=target)
        kept.append(arm)
    return kept, found


def _match(arm: Arm, spec: MatchSpec, *, base: Sequence[str], to: str, target: float) -> tuple[Arm, Matched]:
    config = _config(arm, base)
    how = Matched(arm=arm.name, to=to, by=spec.by, key=None, value=None, target=target, reached=_cost(config, spec.by))
    key = next((key for key in spec.keys if lookup(config, key, ...) is not ...), None)
    own = key is not None and key in {typed_key(text).lstrip("+") for text in arm.overrides}
    if how.mismatch and key is not None and not own:
        how = _solved(how, config, key=key)
        if how.value is not None:
            arm = replace(arm, overrides=(*arm.overrides, f"{key}={how.value}"))
    if abs(how.mismatch) > spec.tolerance:
        raise _too_far(how, spec, key=key, own=own)
    return arm, how


def _solved(how: Matched, config: Mapping[str, Any], *, key: str) -> Matched:
    """With the value of `key` that brings the arm nearest; as it was where no other value brings it nearer."""
    start = lookup(dump(run_spec(config).resolve()), key)
    if isinstance(start, bool) or not isinstance(start, int):
        raise spec_error("study.match.adjust", key, f"must be a whole number; arm '{how.arm}' has {start!r} there")

    def cost(value: int) -> float | None:
        try:
            return _cost(_with(config, key, value), how.by)
        except SpecError:
            return None

    value, reached = solve(cost, start=start, target=how.target)
    nearer = abs(reached - how.target) < abs(how.reached - how.target)
    return replace(how, key=key, value=value, reached=reached) if nearer else how


def _check_axes(arm: Arm, spec: MatchSpec, *, base: Sequence[str], target: float) -> None:
    """What is tuned must not undo the match: not at the ends of its range, nor with any of its choices."""
    axes = with_conditions(arm, base=base).axes
    for params in corners(axes):
        try:
            reached = _cost(_config(arm, base, params=params), spec.by)
        except SpecError:
            continue  # a trial like this one would fail, and train nothing
        if abs(reached - target) > spec.tolerance * target:
            texts = ", ".join(override_texts(params))
            rule = f"tuning undoes the match: arm '{arm.name}' has {reached:,.0f} with {texts}, not {target:,.0f}"
            raise spec_error("study.match.by", spec.by, rule, "leave that out of the search")


def _too_far(how: Matched, spec: MatchSpec, *, key: str | None, own: bool) -> SpecError:
    there = f"{how.key}={how.value} brings arm '{how.arm}' nearest: " if how.value is not None else f"arm '{how.arm}': "
    rule = f"{there}{how.reached:,.0f} {how.by}, {how.mismatch:+.2%} from {how.target:,.0f} of '{how.to}'"
    if key is None:
        remedy = "name a key that the arm has in study.match.adjust, or use study.match.by=none"
    elif own:
        remedy = f"the arm sets {key} itself: leave it out there, or raise study.match.tolerance"
    else:
        remedy = f"use study.match.tolerance={math.ceil(1000 * abs(how.mismatch)) / 1000:g}, or adjust another key"
    return spec_error("study.match.tolerance", spec.tolerance, rule, remedy)


def _config(arm: Arm, base: Sequence[str], *, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    chosen = {key: value for key, value in (params or {}).items() if isinstance(value, str)}
    values = {key: value for key, value in (params or {}).items() if key not in chosen}
    return compose_variant(merge(base, arm.overrides, override_texts(chosen)), override_texts(values))


def _cost(config: Mapping[str, Any], by: str) -> float:
    return float(COSTS[by](run_spec(config).resolve()))


def _with(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The config with one value set."""
    changed = copy.deepcopy(dict(config))
    *path, last = key.split(".")
    functools.reduce(lambda part, name: part[name], path, changed)[last] = value
    return changed
