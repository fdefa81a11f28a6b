"""From overrides to axes: arms to compare, ranges to search inside each arm, seeds to repeat on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.core.compose import Choice, Interval, Override, Values, groups, parse_overrides
from nanochat.core.errors import SpecError, alternatives, join_key, spec_error
from nanochat.study.combine import Choices, excluded, zip_choices
from nanochat.study.design import Design
from nanochat.study.matched import Matched

# The name of the Optuna study that holds the confirming runs, beside one for each arm.
CONFIRMING = "seeds"

# Sections that say how a study is carried out; overriding them changes no run.
OUTSIDE = frozenset(
    {
        "study",
        "sampler",
        "pruner",
        "task",
        "paths",
        "logger",
        "code",
        "checkpoint",
        "milestones",
        "samples",
        "devices",
        "hydra",
    }
)


@dataclass(frozen=True)
class Axis:
    """One thing to search: the key as typed (`lr.peak`, `+ffn@ffn.expert`) and where its values come from.

    when: the axis exists only where another one, by key, took one of these values; none: it always does.
    """

    key: str
    domain: Interval | Choice
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def active(self, params: Mapping[str, Any]) -> bool:
        """Whether the axis exists beside these values of the others."""
        return all(params.get(key) in values for key, values in self.when)

    def holds(self, value: Any) -> bool:
        """Whether a value lies on the axis."""
        if isinstance(self.domain, Choice):
            return value in self.domain.texts
        return not isinstance(value, str) and self.domain.low <= value <= self.domain.high


@dataclass(frozen=True)
class Arm:
    """One thing being compared: the overrides that make it and the axes that are tuned inside it; `scale`: the size at
    which it is, where there are several."""

    name: str
    overrides: tuple[str, ...]
    axes: tuple[Axis, ...]
    scale: str = ""

    @property
    def alone(self) -> str:
        """Its name at every scale."""
        return self.name.removesuffix(f" @ {self.scale}") if self.scale else self.name


@dataclass(frozen=True)
class Axes:
    """All of a study's axes. `base` are the overrides that every run shares, `matched` how arms were made equal,
    `design` how a scaling study chooses its points."""

    base: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    matched: tuple[Matched, ...] = ()
    design: Design | None = None


def read_axes(
    overrides: Sequence[str],
    *,
    arms: Mapping[str, Sequence[str]],
    space: Sequence[str],
    seed: int,
    tune_seed: int,
    exclude: Sequence[Mapping[str, Any]] = (),
    zipped: Sequence[Sequence[str]] = (),
    always_tuned: bool = False,
    seeds: int = 1,
) -> Axes:
    """Read a study's axes from its command line, its named arms and its default search space.

    `seed` is the config's own, used where the command lists none · `exclude`: values by key of arms that are left
    out · `zipped`: keys whose choices advance together · `always_tuned`: over `space`, where the command
    names no other · `seeds`: how many where it lists none. Raises `SpecError` for anything that would make the study
    ambiguous or empty.
    """
    parsed = parse_overrides(overrides)
    _refuse_repeats(parsed)
    fixed = [o for o in parsed if o.sweep is None]
    commas = [o for o in parsed if isinstance(o.sweep, Values) and _key(o) != "seed"]
    search = [_axis(o) for o in parsed if isinstance(o.sweep, (Interval, Choice))]
    listed = next((o for o in parsed if _key(o) == "seed" and isinstance(o.sweep, Values)), None)
    if not search and (always_tuned or not (commas or listed or arms)):
        typed = {_key(o) for o in fixed}
        search = [_axis(o) for o in parse_overrides(space) if _key(o) not in typed]
    found = _arms(fixed, commas=zip_choices(commas, zipped), named=arms, search=search)
    found = _without(found, exclude, base=[o.text for o in fixed])
    chosen = _seeds(listed, own=range(seed, seed + seeds))
    if any(arm.axes for arm in found) and tune_seed in chosen:
        raise spec_error(
            "study.tune_seed",
            tune_seed,
            "tuning needs a seed of its own, which must not be among seed=" + ",".join(map(str, chosen)),
            f"use another, e.g. study.tune_seed={max(chosen) + 1000}",
        )
    return Axes(base=tuple(o.text for o in fixed), arms=found, seeds=chosen)


def merge(*layers: Iterable[str]) -> list[str]:
    """Override texts in order; of several for one key the last stays."""
    merged: dict[str, str] = {}
    for text in itertools.chain(*layers):
        key = typed_key(text).lstrip("+~")
        merged.pop(key, None)
        merged[key] = text
    return list(merged.values())


def typed_key(text: str) -> str:
    """What stands before the `=` of an override, prefix and package included."""
    return text.partition("=")[0].strip()


def decides_runs(text: str) -> bool:
    """Whether an override can change what a run computes (`lr.peak=…`), not only how it is carried out (`study.…`)."""
    return typed_key(text).lstrip("+~").replace("/", ".").partition(".")[0] not in OUTSIDE


def fixed_overrides(key: str, texts: Sequence[str]) -> list[str]:
    """The keys that overrides listed under `key` set. Raises `SpecError` for those that do more than set a run's."""
    own = _parse_own(key, texts)
    for o in own:
        if o.sweep is not None:
            raise spec_error(key, o.text, "is nothing to search", "search on the command line, or in an arm")
    return [_key(o) for o in own]


def check_name(name: str, names: Sequence[str]) -> None:
    """Refuse an arm's name that stands twice among `names`, or cannot be one."""
    if names.count(name) > 1:
        raise spec_error("arms", name, "appears twice; an arm compared with itself says nothing")
    if name == CONFIRMING:
        raise spec_error("study.arms", name, "is the name of the confirming runs", "choose another name")
    if "/" in name or not name.strip():
        raise spec_error("study.arms", name, "must be a name without slashes")


def _arms(
    fixed: Sequence[Override], *, commas: Sequence[Choices], named: Mapping[str, Sequence[str]], search: Sequence[Axis]
) -> tuple[Arm, ...]:
    """The product of the comma choices and of the named arms, in the order typed."""
    grid = _grid(commas) or [("", ())]
    arms: list[Arm] = []
    for (name, texts), (part, values) in itertools.product(named.items() or [("", ())], grid):
        label = ", ".join(filter(None, (name, part))) or _default_name(fixed)
        arms.append(_arm(label, _parse_arm(name, texts), values=values, search=search))
    for arm in arms:
        check_name(arm.name, [a.name for a in arms])
    return tuple(arms)


def _without(arms: Sequence[Arm], exclude: Sequence[Mapping[str, Any]], *, base: Sequence[str]) -> tuple[Arm, ...]:
    """The arms that no exclusion names. An exclusion that leaves nothing out, or nothing over, is a mistake."""
    kept = list(arms)
    for combination in exclude:
        left_out = [arm for arm in arms if excluded(merge(base, arm.overrides), combination)]
        if not left_out:
            remedy = "name keys and values of the arms, e.g. [{attention: mla, ffn: moe}]"
            raise spec_error("study.exclude", dict(combination), "is a combination that no arm has", remedy)
        kept = [arm for arm in kept if arm not in left_out]
    if not kept:
        raise spec_error("study.exclude", None, "leaves no arm")
    return tuple(kept)


def _arm(name: str, own: Sequence[Override], *, values: Sequence[str], search: Sequence[Axis]) -> Arm:
    """An arm from its own overrides and its values on the grid; what it sets itself is not searched in it."""
    fixed = merge((o.text for o in own if o.sweep is None), values)
    axes = {axis.key.lstrip("+"): axis for axis in (*search, *(_axis(o) for o in own if o.sweep is not None))}
    for text in fixed:
        axes.pop(typed_key(text).lstrip("+~"), None)
    return Arm(name=name, overrides=tuple(fixed), axes=tuple(axes.values()))


def _grid(commas: Sequence[Choices]) -> list[tuple[str, tuple[str, ...]]]:
    """Name and override texts of each point of the product of `a,b` choices.

    Names are the values alone where that tells the arms apart (`mla, moe`), else `key=value`.
    """
    if not commas:
        return []
    points = [tuple(itertools.chain(*parts)) for parts in itertools.product(*commas)]
    plain = [[text if "." not in key else _leaf(key, text) for key, text in point] for point in points]
    whole = [[f"{key}={text}" for key, text in point] for point in points]
    names = plain if len({tuple(words) for words in plain}) == len(points) else whole
    return [(_clean(", ".join(words)), tuple(texts)) for words, texts in zip(names, whole, strict=True)]


def _leaf(key: str, text: str) -> str:
    return f"{key.rpartition('.')[2]}={text}"


def _clean(name: str) -> str:
    """Arm names made from values appear in tables and pages: no quotes, and no slashes that look like folders."""
    return name.replace("'", "").replace('"', "").replace("/", "_").lstrip("+")


def _default_name(fixed: Sequence[Override]) -> str:
    """The only arm is named for the groups chosen by hand: `attention=mla ffn=moe` is `mla, moe`."""
    known = groups().keys() - OUTSIDE
    chosen = [o.text.partition("=")[2] for o in fixed if _key(o) in known]
    return _clean(", ".join(chosen)) or "default"


def _parse_arm(name: str, texts: Sequence[str]) -> list[Override]:
    """A named arm's overrides. Raises `SpecError` for commas and seeds, which belong to the whole study."""
    return _parse_own(join_key("study.arms", name), texts)


def _parse_own(key: str, texts: Sequence[str]) -> list[Override]:
    """Overrides that the study lists under `key`."""
    try:
        own = parse_overrides(list(texts))
        _refuse_repeats(own)
    except SpecError as error:
        raise spec_error(key, None, str(error)) from None
    for o in own:
        if isinstance(o.sweep, Values):
            raise spec_error(key, o.text, "an arm is one thing", "make an arm of each value, or search: choice(a, b)")
        if _key(o) == "seed" or not decides_runs(o.text):
            raise spec_error(key, o.text, "is the same for all arms", "set it on the command line")
    return own


def _axis(override: Override) -> Axis:
    """The search axis of an override. Raises `SpecError` for empty and inverted ranges."""
    domain, key = override.sweep, typed_key(override.text)
    if _key(override) == "seed":
        raise spec_error("seed", _typed_value(override), "seeds are repeated on, never tuned", "list them: seed=1,2,3")
    if isinstance(domain, Choice):
        if len(set(domain.texts)) != len(domain.texts):
            raise spec_error(key, _typed_value(override), "lists a choice twice")
        return Axis(key, domain)
    if not isinstance(domain, Interval):
        remedy = "use interval(…), tag(log, interval(…)) or choice(a, b)"
        raise spec_error(key, _typed_value(override), "is nothing to search", remedy)
    if not domain.low < domain.high:
        raise spec_error(key, _typed_value(override), "the low end must lie below the high end")
    if domain.log and domain.low <= 0:
        raise spec_error(key, _typed_value(override), "a log range needs a low end above 0")
    return Axis(key, domain)


def _seeds(listed: Override | None, *, own: Sequence[int]) -> tuple[int, ...]:
    if listed is None:
        return tuple(own)
    assert isinstance(listed.sweep, Values)
    try:
        seeds = tuple(int(text) for text in listed.sweep.texts)
    except ValueError:
        raise spec_error("seed", _typed_value(listed), "must be whole numbers", "e.g. seed=1,2,3") from None
    if len(set(seeds)) != len(seeds):
        raise spec_error("seed", _typed_value(listed), "lists a seed twice; a repeated run says nothing new")
    if not seeds:
        raise spec_error("seed", _typed_value(listed), "lists no seed; range(1,4) is 1,2,3")
    return seeds


def _refuse_repeats(overrides: Sequence[Override]) -> None:
    """A key given twice, once of them as a sweep, has no one meaning."""
    keys = [_key(o) for o in overrides]
    for o in overrides:
        if keys.count(_key(o)) > 1 and any(p.sweep is not None for p in overrides if _key(p) == _key(o)):
            texts = [p.text for p in overrides if _key(p) == _key(o)]
            raise spec_error(_key(o), None, f"is given more than once: {alternatives(texts)}", "keep one of them")
        if o.sweep is not None and not decides_runs(o.text):
            raise spec_error(_key(o), o.text, "cannot be swept: it changes no run")


def _typed_value(override: Override) -> str:
    return override.text.partition("=")[2]


def _key(override: Override) -> str:
    return typed_key(override.text).lstrip("+~")
