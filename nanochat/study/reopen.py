"""Studies by their names: which there are, and one of them again as its first command described it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from nanochat.core.compose import compose, parse_overrides
from nanochat.core.errors import nearest, spec_error
from nanochat.core.spec import load
from nanochat.run.spec import settings
from nanochat.study.axes import decides_runs, merge, typed_key
from nanochat.study.compare import CompareSpec, Study, folder_of, open_study
from nanochat.study.definition import FILE, Definition, read_definition
from nanochat.study.lease import Leases
from nanochat.study.reading import Reading
from nanochat.study.storage import home
from nanochat.study.store import Store

# What decides how a study is searched, and of what it is made: its first command said so, and no other may.
FIXED = frozenset(
    {"study.seed", "study.seeds", "study.tune_seed", "study.lag", "study.space", "study.arms", "study.exclude"}
    | {"study.zip", "study.objectives", "study.match", "study.scales"}
)

# How it is read: what the last command that said so made of it, unless this one says otherwise.
READING = frozenset(field.name for field in fields(Reading))

# What a command that names a study may say of how much is to be done.
BUDGET = frozenset({"study.trials", "study.extend", "study.flops", "study.hours"})


def folders(studies: Path) -> list[Path]:
    """Every study's folder, the newest first."""
    found = studies.glob(f"*/{FILE}") if studies.is_dir() else ()
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def find(config: Mapping[str, Any]) -> Path:
    """The folder of the study that `study.name` (or `study.dir`) names. Raises `SpecError` where there is none."""
    spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
    known = [path.name for path in folders(how.paths.studies)]
    if spec.name is None and spec.dir is None:
        raise spec_error("study.name", None, "is needed: which study?", nearest("", known) or "there is none yet")
    folder = folder_of(spec, how, name=spec.name or "")
    if not (folder / FILE).exists():
        there = nearest(spec.name or "", known) or f"there is none yet in {how.paths.studies}"
        raise spec_error("study.name", spec.name or spec.dir, "no such study", there)
    return folder


def reopen(config: Mapping[str, Any], words: Sequence[str]) -> tuple[Study, bool]:
    """The study that the overrides `words` name, and whether they set its budget.

    They may change how it is carried out (paths, slots, storage), not what it is: that, its first command decided.
    """
    folder = find(config)
    stored = read_definition(folder)
    for word in words:
        if decides_runs(word) or _decides_search(word):
            raise spec_error(typed_key(word), None, f"study {stored.name} is defined already", "leave it out")
    own = [word for word in words if not word.startswith("task") and not typed_key(word).startswith("study.name")]
    overrides = merge(stored.command, own, [f"study.name={stored.name}"])
    fixed = [override.text for override in parse_overrides(overrides) if override.sweep is None]
    study = open_study(compose(fixed), overrides)
    design = study.definition.design
    if design and stored.design and not any(typed_key(word) == "study.target_flops" for word in own):
        design = replace(design, target=stored.design.target)
    reading = reread(stored.reading, own, spec=study.spec)
    study = study.over(replace(study.definition, reading=reading, design=design))
    return study, any(typed_key(word) in BUDGET for word in words)


def reread(reading: Reading, words: Sequence[str], *, spec: CompareSpec, names: Collection[str] = READING) -> Reading:
    """The reading with what of `names` the overrides `words` say anew, as `spec` has it."""
    said = {typed_key(word).removeprefix("study.") for word in words} & set(names)
    return replace(reading, **{name: getattr(spec.reading, name) for name in said})


def _decides_search(word: str) -> bool:
    key = typed_key(word).lstrip("+~").partition("@")[0]
    return key.partition(".")[0] in ("sampler", "pruner") or ".".join(key.split(".")[:2]) in FIXED


def look(folder: Path, *, url: str | None, lease_seconds: float) -> tuple[Definition, Store | None, Leases]:
    """A study to look at: its definition, its trials and who is on it. No trials where they lie in a database of
    which `url` is not given."""
    definition = read_definition(folder)
    leases = Leases(folder / "workers", seconds=lease_seconds)
    if home(folder)["storage"] == "database" and url is None:
        return definition, None, leases
    return definition, Store(folder, definition, leases=leases, plans={}, url=url), leases
