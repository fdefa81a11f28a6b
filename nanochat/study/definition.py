"""The frozen definition of a study: what makes it the study that it is, stored as `study.json` in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nanochat.core.artifact import read_json
from nanochat.core.compose import Choice, Interval
from nanochat.core.errors import Problem, SpecError
from nanochat.core.spec import hash_of
from nanochat.study.axes import Arm, Axis, merge

SCHEMA = 1
FILE = "study.json"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Everything that decides a study's runs. Budgets, slots and paths lie outside.

    name: of the study and its folder · command: the overrides that first described it · arms: in order ·
    runs: for each arm its run before tuning, as plain data with its nulls (what the overrides of command and arm
    came to: an edited YAML file shows here) · first: for each arm the values that trial 0 begins with · seeds: of
    the confirming runs · tune_seed: the reserved one · seed: of the suggestions · lag: suggestion n sees the
    results of trials up to n - lag · device, threads: what a null in `runs` meant on the machine that began.
    """

    name: str
    command: tuple[str, ...]
    arms: tuple[Arm, ...]
    runs: Mapping[str, Any]
    first: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    tune_seed: int
    seed: int
    lag: int
    device: Literal["cpu", "cuda"]
    threads: int

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def overrides(self, arm: Arm, *, params: Mapping[str, Any], seed: int, base: tuple[str, ...]) -> list[str]:
        """The overrides that make one run. `base` is this command's own: paths and loggers may have moved."""
        return merge(base, arm.overrides, override_texts(params), [f"seed={seed}"])

    def on_machine(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A composed config with this study's device and threads where it leaves them open."""
        trainer = dict(config["trainer"])
        trainer["device"] = self.device if trainer["device"] == "auto" else trainer["device"]
        trainer["threads"] = trainer["threads"] or self.threads
        return {**config, "trainer": trainer}

    def identity(self) -> dict[str, Any]:
        """What two commands must have in common to be one study: all but name, typed words and machine."""
        outside = ("name", "command", "device", "threads")
        return {key: value for key, value in plain(self).items() if key not in outside}


def override_texts(params: Mapping[str, Any]) -> list[str]:
    """Tuned values as overrides, in full precision."""
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]


def default_name(definition: Definition) -> str:
    """Readable, and different for different studies: `mla-gqa-1f3a9c`."""
    words = "-".join(re.sub(r"[^A-Za-z0-9.=]+", "-", arm.name).strip("-") for arm in definition.arms)
    return f"{words[:40].strip('-')}-{hash_of(definition.identity(), length=6)}"


def open_definition(folder: Path, wanted: Definition) -> Definition:
    """The study stored in `folder`, or `wanted` where there is none yet.

    Raises `SpecError` naming what differs where the stored one is another study.
    """
    if not (folder / FILE).exists():
        return wanted
    stored = read_definition(folder)
    found = list(differences(stored.identity(), wanted.identity()))
    if not found:
        return stored
    head = Problem(
        key="study.name",
        value=stored.name,
        rule=f"is another study already, in {folder}",
        remedy="choose another study.name (or none), or repeat its own command",
    )
    shown = [Problem(key=f"  {key}", rule=f"there {_short(a)}, here {_short(b)}") for key, a, b in found[:6]]
    raise SpecError([head, *shown])


def read_definition(folder: Path) -> Definition:
    """The definition stored in a study's folder."""
    data = read_json(folder / FILE)
    fields = {key: value for key, value in data.items() if key != "schema"}
    arms = tuple(
        Arm(arm["name"], tuple(arm["overrides"]), tuple(_axis_from(axis) for axis in arm["axes"]))
        for arm in data["arms"]
    )
    return Definition(**{**fields, "command": tuple(data["command"]), "arms": arms, "seeds": tuple(data["seeds"])})


def plain(definition: Definition) -> dict[str, Any]:
    """The definition as the plain data of `study.json`."""
    data = asdict(replace(definition, arms=()))
    arms = [
        {"name": arm.name, "overrides": list(arm.overrides), "axes": [_axis_data(axis) for axis in arm.axes]}
        for arm in definition.arms
    ]
    return {
        "schema": SCHEMA,
        **data,
        "command": list(definition.command),
        "arms": arms,
        "seeds": list(definition.seeds),
    }


def differences(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key, old and new value of everything that differs between two plain values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{at}.{key}" if at else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{at}[{i}]")
    elif old != new:
        yield at, old, new


def _axis_data(axis: Axis) -> dict[str, Any]:
    if isinstance(axis.domain, Choice):
        return {"key": axis.key, "choices": list(axis.domain.texts)}
    return {"key": axis.key, **asdict(axis.domain)}


def _axis_from(data: Mapping[str, Any]) -> Axis:
    fields = dict(data)
    key = fields.pop("key")
    return Axis(key, Choice(tuple(fields["choices"])) if "choices" in fields else Interval(**fields))


def _short(value: Any, limit: int = 60) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
