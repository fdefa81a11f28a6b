"""The frozen definition of a study: what makes it the study that it is, stored as `study.json` in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nanochat.core.artifact import read_json
from nanochat.core.compose import Choice, Interval
from nanochat.core.errors import Problem, SpecError, spec_error
from nanochat.core.spec import hash_of
from nanochat.study.axes import Arm, Axis, merge
from nanochat.study.design import Design, data_of, design_of
from nanochat.study.matched import Matched
from nanochat.study.reading import Reading, reading_of

SCHEMA = 3
FILE = "study.json"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Everything that decides a study's runs. Budgets, slots and paths lie outside.

    name: of the study and its folder · command: the overrides that first described it · arms: in order ·
    runs: for each arm its run before tuning, as plain data with its nulls (what the overrides of command and arm
    came to: an edited YAML file shows here) · first: for each arm the values that trial 0 begins with · seeds: of
    the confirming runs · tune_seed: the reserved one · seed: of the suggestions · lag: suggestion n sees the
    results of trials up to n - lag · sampler, pruner: as plain data · objectives: what is minimised, the first one
    decides · device, threads: what a null in `runs` meant on the machine that began · reading: how its scores are
    read · matched: how arms were made equal · design: of a scaling study, how its points are chosen · round: how many
    times all of it was begun anew, because the code had changed.
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
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    objectives: tuple[str, ...]
    device: Literal["cpu", "cuda"]
    threads: int
    reading: Reading = field(default_factory=Reading)
    matched: tuple[Matched, ...] = ()
    design: Design | None = None
    round: int = 0

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def overrides(
        self, arm: Arm, *, params: Mapping[str, Any], seed: int, base: tuple[str, ...]
    ) -> tuple[list[str], list[str]]:
        """The overrides that make one run: those that choose, and those that set a key to a number.

        `base` is this command's own: paths and loggers may have moved.
        """
        chosen = {key: value for key, value in params.items() if isinstance(value, str)}
        values = {key: value for key, value in params.items() if key not in chosen}
        return merge(base, arm.overrides, override_texts(chosen)), [*override_texts(values), f"seed={seed}"]

    def on_machine(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A composed config with this study's device and threads where it leaves them open."""
        trainer = dict(config["trainer"])
        trainer["device"] = self.device if trainer["device"] == "auto" else trainer["device"]
        trainer["threads"] = trainer["threads"] or self.threads
        return {**config, "trainer": trainer}

    def identity(self) -> dict[str, Any]:
        """What two commands must have in common to be one study: all but name, typed words, machine and search."""
        data = plain(self)
        arms = [{"name": arm["name"], "overrides": arm["overrides"]} for arm in data["arms"]]
        same = {key: data[key] for key in ("schema", "runs", "seeds", "tune_seed", "objectives")}
        # Where the study may end early, how it is read decides which runs there are.
        design = {"design": self.design.identity()} if self.design else {}
        return {**same, "arms": arms, "reading": data["reading"] if self.reading.looks else None, **design}

    def search(self, arm: Arm) -> dict[str, Any]:
        """How an arm is tuned. Where that changes, a new search begins, and takes over the old trials that fit."""
        data = plain(self)
        axes = next(item["axes"] for item in data["arms"] if item["name"] == arm.name)
        how = {key: data[key] for key in ("seed", "lag", "sampler", "pruner")}
        return {"axes": axes, "first": dict(self.first[arm.name]), **how}

    def searches(self) -> dict[str, Any]:
        """`search` of every arm that has something to tune, by name."""
        return {arm.name: self.search(arm) for arm in self.arms if arm.axes}


def override_texts(params: Mapping[str, Any]) -> list[str]:
    """Tuned values as overrides, in full precision."""
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]


def default_name(definition: Definition) -> str:
    """Readable, and different for different studies: `mla-gqa-1f3a9c`."""
    words = "-".join(re.sub(r"[^A-Za-z0-9.=]+", "-", arm.name).strip("-") for arm in definition.arms)
    return f"{words[:40].strip('-')}-{hash_of([definition.identity(), definition.searches()], length=6)}"


def open_definition(folder: Path, wanted: Definition) -> Definition:
    """The study stored in `folder`, or `wanted` where there is none yet.

    A search that changed is taken over from `wanted`, but for a scaling study's, which is part of what it is; what the
    first machine derived stays. Raises `SpecError`
    naming what differs where the stored one is another study.
    """
    if not (folder / FILE).exists():
        return wanted
    stored = read_definition(folder)
    found = list(differences(stored.identity(), wanted.identity()))
    if stored.design is not None and not found:
        # Its points follow from the rates that were tried: a new search would leave them without.
        found = list(differences(stored.searches(), wanted.searches()))
    if not found:
        if stored.searches() == wanted.searches():
            return replace(stored, reading=wanted.reading, design=_asked(stored.design, wanted.design))
        return replace(wanted, name=stored.name, device=stored.device, threads=stored.threads, round=stored.round)
    head = Problem(
        key="study.name",
        value=stored.name,
        rule=f"is another study already, in {folder}",
        remedy="choose another study.name (or none), or repeat its own command",
    )
    raise SpecError([head, *described(found)])


def _asked(design: Design | None, wanted: Design | None) -> Design | None:
    """A stored design, answering for what is asked for now: that changes no point that was run."""
    return replace(design, target=wanted.target) if design and wanted else design


def described(found: Sequence[tuple[str, Any, Any]]) -> list[Problem]:
    """Differences as indented lines, the first of many."""
    return [Problem(key=f"  {key}", rule=f"there {_short(a)}, here {_short(b)}") for key, a, b in found[:6]]


def read_definition(folder: Path) -> Definition:
    """The definition stored in a study's folder. Raises `SpecError` where another version wrote it."""
    data = read_json(folder / FILE)
    if data.get("schema") != SCHEMA:
        rule = f"was written by another version (schema {data.get('schema')}, this one reads {SCHEMA})"
        raise spec_error("", None, f"{folder / FILE}: {rule}", "choose another study.name; finished runs are reused")
    fields = {key: value for key, value in data.items() if key != "schema"}
    arms = tuple(
        Arm(arm["name"], tuple(arm["overrides"]), tuple(_axis_from(axis) for axis in arm["axes"]), arm["scale"])
        for arm in data["arms"]
    )
    lists = {key: tuple(data[key]) for key in ("command", "seeds", "objectives")}
    matched = tuple(Matched(**how) for how in data["matched"])
    return Definition(
        **{
            **fields,
            **lists,
            "arms": arms,
            "matched": matched,
            "reading": reading_of(data["reading"]),
            "design": design_of(data.get("design")),
        }
    )


def plain(definition: Definition) -> dict[str, Any]:
    """The definition as the plain data of `study.json`."""
    data = asdict(replace(definition, arms=()))
    arms = [
        {
            "name": arm.name,
            "scale": arm.scale,
            "overrides": list(arm.overrides),
            "axes": [_axis_data(axis) for axis in arm.axes],
        }
        for arm in definition.arms
    ]
    return {
        "schema": SCHEMA,
        **data,
        "command": list(definition.command),
        "arms": arms,
        "seeds": list(definition.seeds),
        "objectives": list(definition.objectives),
        "reading": definition.reading.data(),
        "matched": [asdict(how) for how in definition.matched],
        "design": data_of(definition.design),
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
    data = {"choices": list(axis.domain.texts)} if isinstance(axis.domain, Choice) else asdict(axis.domain)
    when = {"when": {key: list(values) for key, values in axis.when}} if axis.when else {}
    return {"key": axis.key, **data, **when}


def _axis_from(data: Mapping[str, Any]) -> Axis:
    fields = dict(data)
    key = fields.pop("key")
    when = tuple((name, tuple(values)) for name, values in fields.pop("when", {}).items())
    domain = Choice(tuple(fields["choices"])) if "choices" in fields else Interval(**fields)
    return Axis(key, domain, when)


def _short(value: Any, limit: int = 60) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
