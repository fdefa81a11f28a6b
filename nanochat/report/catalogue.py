"""The catalogue of components, made from what stands beside each: its module, its Spec, its YAML. `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType

import yaml

from nanochat.core.artifact import write_text
from nanochat.core.compose import CONF, groups
from nanochat.core.help import GROUPS
from nanochat.core.spec import Spec

ARXIV = re.compile(r"(?<![\d/])(\d{4}\.\d{4,5})(?!\d)")
WITHOUT_COMPONENTS = ("experiment", "schedule")

HEAD = """\
# Components

What each group offers; `group=option` on the command line chooses one, `option.field=value` changes it. Made by
`make docs` from the modules, Specs and config files themselves: change those.
"""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One line of an option's YAML: `name: default  # what`."""

    name: str
    default: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One option: `what` from its module's docstring, source included, `cost` from that of its Spec's method."""

    group: str
    option: str
    spec: type[Spec]
    what: str
    fields: tuple[Field, ...]
    cost: str


def components() -> Iterator[Component]:
    """Every option of every group that has a Spec, in the groups' own order."""
    found = groups()
    for group in [*GROUPS, *sorted(set(found) - set(GROUPS))]:
        for option in found.get(group, []) if group not in WITHOUT_COMPONENTS else []:
            yield component(group, option)


def component(group: str, option: str) -> Component:
    """The option as its files describe it."""
    path = CONF / group / f"{option}.yaml"
    text = path.read_text()
    target = re.search(r"^_target_:\s*(\S+)", text, re.MULTILINE)
    assert target, f"{path} names no _target_"
    module_name, _, class_name = target[1].rpartition(".")
    __import__(module_name)
    module = sys.modules[module_name]
    spec = getattr(module, class_name)
    return Component(
        group=group,
        option=option,
        spec=spec,
        what=_what(module),
        fields=tuple(_with_those_below(group, text)),
        cost=_cost(spec),
    )


def fields_of(text: str) -> Iterator[Field]:
    """The fields of a YAML file, nested ones by their dotted names; a comment's further lines belong to it."""
    lines = text.splitlines()
    path: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        match = re.match(r"( *)([A-Za-z_]\w*):\s*(.*?)(?:\s*#\s?(.*))?$", line)
        if not match or match[2] in ("_target_", "defaults"):
            continue
        indent, name, default, what = len(match[1]), match[2], match[3], match[4] or ""
        path = [part for part in path if part[0] < indent] + [(indent, name)]
        for further in lines[number + 1 :]:
            if not (more := re.match(r"\s{4,}#\s?(.*)$", further)):
                break
            what += " " + more[1]
        yield Field(name=".".join(part for _, part in path), default=default, what=what)
    for part in (yaml.safe_load(text) or {}).get("defaults", []):
        for key, value in part.items() if isinstance(part, dict) else ():
            group, _, name = key.lstrip("/").partition("@")
            yield Field(name=name, default=str(value), what=f"a component of its own, any `{group}`")


def _with_those_below(group: str, text: str) -> list[Field]:
    """A file's own fields, then those of the option of its group that it builds on."""
    own = list(fields_of(text))
    below = [part for part in (yaml.safe_load(text) or {}).get("defaults", []) if isinstance(part, str)]
    for option in below:
        if option != "_self_":
            found = _with_those_below(group, (CONF / group / f"{option}.yaml").read_text())
            own += [field for field in found if field.name not in {known.name for known in own}]
    return own


def page() -> str:
    """The whole catalogue as Markdown: a section for every Spec, options that name the same one together."""
    parts = [HEAD]
    for group, members in groupby(components(), key=lambda found: found.group):
        parts.append(f"## {group}: {GROUPS.get(group, '')}".rstrip(": ") + "\n")
        by_spec: dict[type[Spec], list[Component]] = {}
        for found in members:
            by_spec.setdefault(found.spec, []).append(found)
        # The option that bears its module's name comes first, the others as what differs from it.
        for options in by_spec.values():
            options.sort(key=lambda found: found.option != found.spec.__module__.rpartition(".")[2])
            parts.append(section(options[0], others=options[1:]))
    return "\n".join(parts)


def section(found: Component, *, others: Sequence[Component]) -> str:
    """One Spec: an option in full, and what the others of the same Spec set otherwise."""
    file = found.spec.__module__.replace(".", "/") + ".py"
    lines = [f"### `{found.group}={found.option}`", "", _linked(found.what), ""]
    if found.fields:
        lines += ["| field | default | what |", "|---|---|---|"]
        lines += [f"| `{f.name}` | {_code(f.default)} | {_cell(f.what)} |" for f in found.fields]
        lines.append("")
    ours = {f.name: f.default for f in found.fields}
    for other in others:
        changed = [f"`{f.name}: {f.default}`" for f in other.fields if f.default != ours.get(f.name)]
        lines += [f"`{found.group}={other.option}` is the same with {', '.join(changed)}.", ""]
    if found.cost:
        lines += [f"Cost: {found.cost}", ""]
    lines += [f"Spec: [`{found.spec.__name__}`](../{file})", ""]
    return "\n".join(lines)


def _what(module: ModuleType) -> str:
    """A module's docstring as paragraphs of one line each; lists stay lists."""
    text = inspect.cleandoc(module.__doc__ or "")
    paragraphs = [re.sub(r"\n(?!- )\s*", " ", paragraph) for paragraph in text.split("\n\n")]
    return "\n\n".join(paragraphs)


def _cost(spec: type[Spec]) -> str:
    """What the nearest class that computes a cost says of it."""
    methods = [vars(cls)["cost"] for cls in spec.__mro__ if "cost" in vars(cls)]
    computed = [method for method in methods if not getattr(method, "__isabstractmethod__", False)]
    return " ".join((computed[0].__doc__ or "").split()) if computed else ""


def _linked(text: str) -> str:
    return ARXIV.sub(r"[\1](https://arxiv.org/abs/\1)", text)


def _cell(text: str) -> str:
    return _linked(text.replace("|", "\\|"))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), page())
