"""Specs: frozen, validated descriptions of components, their JSON and their keys.

A Spec has no defaults: YAML lists every field, so what `--cfg job` shows is all there is. `None` in a field
means *derived*: the Spec's `resolve` fills it. The JSON of a Spec carries `_target_`, the class that it is,
so that a field typed with a base class never loses what stood in it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Annotated, Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nanochat.core.errors import Problem, SpecError, join_key, nearest

TARGET = "_target_"
UNION_MEMBER = re.compile(r"(literal|function-[a-z]+|constrained-[a-z]+)\b.*|(int|float|str|bool)$")
"""Pydantic's name for one of the types that a field may have, which stands in the place of an error like a key."""


def _whole(value: Any) -> Any:
    """People write `stop.tokens=1e6`: a float that is a whole number is taken as one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[int, BeforeValidator(_whole), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Spec(BaseModel):
    """Base of all Specs: strict types, no unknown keys, finite floats, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed (pydantic's `model_copy` would not validate)."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        problems: list[Problem] = []
        spec = _construct(type(self), {**fields, **changes}, "", problems)
        if spec is None:
            raise SpecError(problems)
        return spec


SpecT = TypeVar("SpecT", bound=Spec)


def load(data: Any, base: type[SpecT], *, at: str = "") -> SpecT:
    """Build the Spec that plain `data` (dicts, lists, scalars) describes.

    `_target_` names the class, a subclass of `base`; without it the class is `base` itself. Raises `SpecError`
    with every problem found, each under its full key, `at` being the key of `data` itself.
    """
    problems: list[Problem] = []
    spec = _load(data, base, at, problems)
    if problems:
        raise SpecError(problems)
    assert isinstance(spec, base)
    return spec


def dump(value: Any) -> Any:
    """The plain data of a Spec (or of a list, dict or scalar holding Specs); `load(dump(s), Spec) == s`."""
    if isinstance(value, Spec):
        fields = {name: dump(getattr(value, name)) for name in type(value).model_fields}
        return {TARGET: target_of(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [dump(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """The one JSON text of a Spec or plain value: sorted keys, no spaces, no NaN."""
    return json.dumps(dump(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(value: Any, *, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def target_of(cls: type) -> str:
    """`package.module.Class`, what stands under `_target_`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def modules_in(value: Any) -> list[str]:
    """The modules of all Specs in plain data, each once: what loading it will import."""
    if isinstance(value, Mapping):
        own = [str(value[TARGET]).rpartition(".")[0]] if TARGET in value else []
        return list(dict.fromkeys([*own, *(name for item in value.values() for name in modules_in(item))]))
    if isinstance(value, (list, tuple)):
        return list(dict.fromkeys(name for item in value for name in modules_in(item)))
    return []


def option_of(spec: Spec) -> str:
    """The option that a Spec stands for, as it is typed: its module's last name, `rope` of nanochat.position.rope."""
    return type(spec).__module__.rpartition(".")[2]


def _load(data: Any, base: type[Spec], at: str, problems: list[Problem]) -> Spec | None:
    if not isinstance(data, Mapping):
        problems.append(Problem(key=at, value=data, rule="must be a section of keys, not a value"))
        return None
    cls = _class_of(data, base, at, problems)
    if cls is None:
        return None
    fields: dict[str, Any] = {}
    failed: set[str] = set()
    for name, value in data.items():
        if name == TARGET:
            continue
        before = len(problems)
        fields[name] = _load_value(value, _annotation(cls, name), join_key(at, str(name)), problems)
        if len(problems) > before:
            failed.add(name)
    return _construct(cls, fields, at, problems, failed=failed)


def _load_value(value: Any, annotation: Any, at: str, problems: list[Problem]) -> Any:
    """Specs from sections that are Specs, tuples from lists, everything else as it is."""
    base = _spec_in(annotation)
    if isinstance(value, Mapping):
        if TARGET in value or (base is not None and get_origin(annotation) is not dict):
            return _load(value, base or Spec, at, problems)
        return {key: _load_value(item, base, join_key(at, str(key)), problems) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_load_value(item, base, f"{at}[{i}]", problems) for i, item in enumerate(value))
    return value


def _class_of(data: Mapping[str, Any], base: type[Spec], at: str, problems: list[Problem]) -> type[Spec] | None:
    target = data.get(TARGET)
    if target is None:
        if not inspect.isabstract(base):
            return base
        problems.append(Problem(key=join_key(at, TARGET), rule=f"is missing; it names the {base.__name__} meant"))
        return None
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        problems.append(Problem(key=join_key(at, TARGET), value=target, rule=f"cannot be imported ({error})"))
        return None
    if not (isinstance(found, type) and issubclass(found, base)) or inspect.isabstract(found):
        problems.append(Problem(key=join_key(at, TARGET), value=target, rule=f"must be a {base.__name__}"))
        return None
    return found


def _annotation(cls: type[Spec], name: str) -> Any:
    field = cls.model_fields.get(name)
    return field.annotation if field else None


def _spec_in(annotation: Any) -> type[Spec] | None:
    """The Spec class that an annotation names, if it does: `SpecX`, `SpecX | None`, `tuple[SpecX, ...]`,
    `dict[str, SpecX]`."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, Spec):
            return option
    return None


def _construct(
    cls: type[SpecT],
    fields: dict[str, Any],
    at: str,
    problems: list[Problem],
    *,
    failed: Set[str] = frozenset(),
) -> SpecT | None:
    """The Spec, or None with what is wrong added to `problems` (fields in `failed` have had their say)."""
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        found: dict[str, Problem] = {}
        for item in error.errors():
            if item["loc"] and item["loc"][0] in failed:
                continue
            for problem in _problems(cls, item, at):
                known = found.get(problem.key)  # what may be one of several types breaks a rule of each
                rule = f"{known.rule} or {problem.rule.removeprefix('must be ')}" if known else problem.rule
                found[problem.key] = replace(problem, rule=rule)
        problems.extend(found.values())
        return None


def _problems(cls: type[Spec], error: Any, at: str) -> list[Problem]:
    """One pydantic error as `Problem`s under full keys."""
    cause = error.get("ctx", {}).get("error")
    key = at
    for part in error["loc"]:
        if isinstance(part, str) and UNION_MEMBER.match(part):
            continue
        key = f"{key}[{part}]" if isinstance(part, int) else join_key(key, str(part))
    if isinstance(cause, SpecError):
        return list(cause.under(key).problems)
    if error["type"] == "extra_forbidden":
        remedy = nearest(str(error["loc"][-1]), cls.model_fields)
        return [Problem(key=key, rule=f"{cls.__name__} has no such key", remedy=remedy)]
    if error["type"] == "missing":
        return [Problem(key=key, rule="is missing; a Spec has no defaults")]
    return [Problem(key=key, value=error["input"], rule=_rule(error))]


def _rule(error: Any) -> str:
    message = error["msg"]
    for old, new in (("Input should be", "must be"), ("Value error, ", "")):
        message = message.replace(old, new)
    return message[0].lower() + message[1:]
