"""Arms made equal in size before they are compared: one width of each is solved for, from costs alone."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from nanochat.core.compose import compose_variant
from nanochat.core.errors import SpecError, spec_error
from nanochat.core.spec import Share, Spec, dump
from nanochat.run.spec import RunSpec, run_spec
from nanochat.study.axes import Arm, merge, typed_key
from nanochat.study.conditions import lookup, probes
from nanochat.study.matched import Matched

# How far from a value that a component refuses (a width that heads do not divide) the next good one is looked for, and
# how far a value may grow at all.
SPAN, LARGEST = 256, 1 << 20

COSTS: dict[str, Callable[[RunSpec], float]] = {
    "params": lambda run: run.cost.params,
    "active_params": lambda run: run.cost.active_params,
    "flops": lambda run: run.training_cost.flops * run.tokens,
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

    Raises `SpecError` where an arm stays beyond the tolerance, with the nearest value that can be reached.
    """
    if spec.by == "none":
        return list(arms), []
    target = _cost(_config(to, base), spec.by)
    found = [_match(arm, spec, base=base, to=to.name, target=target) for arm in arms if arm is not to]
    by_name = {arm.name: (arm, how) for arm, how in found}
    return [by_name[arm.name][0] if arm is not to else arm for arm in arms], [how for _, how in found]


def solve(cost: Callable[[int], float | None], *, start: int, target: float) -> tuple[int, float]:
    """The whole number whose cost is nearest to `target`, and that cost, by bisection.

    `cost` must not fall as the number grows; None marks numbers that make no model, `start` makes one. Raises
    ValueError where the cost does not depend on the number.
    """
    known = functools.cache(cost)
    first = known(start)
    assert first is not None, "an arm as it is makes a model"
    low = high = (start, first)
    while high[1] < target:  # low stays below the target
        low, high = high, _valid(known, 2 * high[0], inside=(high[0], LARGEST))
    while low[1] > target:
        low, high = _valid(known, low[0] // 2, inside=(0, low[0])), low
    while (between := _between(known, low[0], high[0])) is not None:
        low, high = (between, high) if between[1] <= target else (low, between)
    return min(low, high, key=lambda point: (abs(point[1] - target), point[0]))


def _match(arm: Arm, spec: MatchSpec, *, base: Sequence[str], to: str, target: float) -> tuple[Arm, Matched]:
    config = _config(arm, base)
    how = Matched(arm=arm.name, to=to, by=spec.by, key=None, value=None, target=target, reached=_cost(config, spec.by))
    key = next((key for key in spec.keys if lookup(config, key, ...) is not ...), None)
    own = {typed_key(text).lstrip("+") for text in arm.overrides}
    if abs(how.mismatch) > 0 and key is not None and key not in own:
        how = _solved(how, config, key=key)
        if how.value is not None:
            arm = replace(arm, overrides=(*arm.overrides, f"{key}={how.value}"))
    if abs(how.mismatch) > spec.tolerance:
        raise _too_far(how, spec, key=key, own=own)
    _check_axes(arm, how, spec, base=base)
    return arm, how


def _solved(how: Matched, config: Mapping[str, Any], *, key: str) -> Matched:
    start = lookup(dump(run_spec(config).resolve()), key)
    if isinstance(start, bool) or not isinstance(start, int):
        raise spec_error("study.match.adjust", key, f"must be a whole number; arm '{how.arm}' has {start!r} there")

    def cost(value: int) -> float | None:
        try:
            return _cost(_with(config, key, value), how.by)
        except SpecError:
            return None

    try:
        value, reached = solve(cost, start=start, target=how.target)
    except ValueError:
        rule = f"does not bring {how.by} of arm '{how.arm}' to that of '{how.to}'"
        raise spec_error("study.match.adjust", key, rule, "adjust another key") from None
    nearer = abs(reached - how.target) < abs(how.reached - how.target)
    return replace(how, key=key, value=value, reached=reached) if nearer else how


def _check_axes(arm: Arm, how: Matched, spec: MatchSpec, *, base: Sequence[str]) -> None:
    """What is tuned must not undo the match."""
    for params in probes(arm.axes, first={}):
        texts = [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]
        reached = _cost(compose_variant(merge(base, arm.overrides, texts), []), how.by)
        if abs(replace(how, reached=reached).mismatch) > spec.tolerance:
            rule = f"changes {how.by}, by which arms are matched, in arm '{arm.name}'"
            raise spec_error(", ".join(params), None, rule, "leave it out of the search, or use study.match.by=none")


def _too_far(how: Matched, spec: MatchSpec, *, key: str | None, own: set[str]) -> SpecError:
    there = f"{how.key}={how.value} brings arm '{how.arm}' nearest: " if how.value is not None else f"arm '{how.arm}': "
    rule = f"{there}{how.reached:,.0f} {how.by}, {how.mismatch:+.2%} from {how.target:,.0f} of '{how.to}'"
    if how.value is not None:
        remedy = f"use study.match.tolerance={abs(how.mismatch):.2g} or more, or adjust another key"
    elif key in own:
        remedy = f"the arm sets {key} itself: leave it out there, or raise study.match.tolerance"
    else:
        remedy = "name a key that the arm has in study.match.adjust, or use study.match.by=none"
    return spec_error("study.match", f"{spec.tolerance:.2%}", rule, remedy)


def _config(arm: Arm, base: Sequence[str]) -> dict[str, Any]:
    return compose_variant(merge(base, arm.overrides), [])


def _cost(config: Mapping[str, Any], by: str) -> float:
    return float(COSTS[by](run_spec(config).resolve()))


def _with(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The config with one value set."""
    changed = copy.deepcopy(dict(config))
    *path, last = key.split(".")
    functools.reduce(lambda part, name: part[name], path, changed)[last] = value
    return changed


def _valid(cost: Callable[[int], float | None], wanted: int, *, inside: tuple[int, int]) -> tuple[int, float]:
    """The number nearest to `wanted`, strictly inside, that makes a model, and its cost."""
    low, high = inside
    for distance in range(SPAN):
        for number in (wanted + distance, wanted - distance):
            if low < number < high and (found := cost(number)) is not None:
                return number, found
    raise ValueError("no number makes a model")


def _between(cost: Callable[[int], float | None], low: int, high: int) -> tuple[int, float] | None:
    try:
        return _valid(cost, (low + high) // 2, inside=(low, high))
    except ValueError:
        return None
