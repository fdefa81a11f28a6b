"""Where a study's numbers come from, as its evidence says: texts, code, packages, machines, configs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from nanochat.report.frame import Frame
from nanochat.study.definition import differences


def sources(frame: Frame) -> list[tuple[str, str]]:
    """Name and value of each thing worth knowing; of several machines or revisions each one."""
    definition, found = frame.definition, list[tuple[str, str]]()
    for text in frame.evidence.get("texts", []):
        found += [("corpus", text["describe"]), ("its fingerprint", text["fingerprint"])]
    arms = [arm for arm in frame.evidence.get("arms", {}).values() if arm]
    if arms:
        coverage = [arm["coverage"] for arm in arms]
        low, high = min(c["share"] for c in coverage), max(c["share"] for c in coverage)
        share = f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
        found.append(
            ("a run covers", f"{share} of the training split, {max(c['epochs'] for c in coverage):.2f} epochs")
        )
    seeds = ", ".join(map(str, definition.seeds))
    scaling = definition.design is not None
    suggested = "" if scaling else f"; suggestions from {definition.seed}"
    found.append(("seeds", f"{seeds}; tuned on {definition.tune_seed}{suggested}"))
    if not scaling:
        sampler, pruner = (data["_target_"].split(".")[-2] for data in (definition.sampler, definition.pruner))
        found.append(("search", f"sampler {sampler}, pruner {pruner}, lag {definition.lag}"))
    for origin in frame.evidence.get("origins", []):
        found += _origin(origin, runs="points" if scaling else "confirming runs")
    return found


def command(frame: Frame) -> str:
    """The command that makes this study again, wherever its files are to lie."""
    overrides = [text for text in frame.definition.command if not text.startswith("paths.")]
    return shlex.join(["python", "run.py", *overrides, "-m"])


def configs(frame: Frame) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Of each arm: its name, in what its resolved config differs from the first arm's, and the whole of it as JSON."""
    arms = {name: arm["run"] for name, arm in frame.evidence.get("arms", {}).items() if arm}
    first = next(iter(arms.values()), {})
    return [
        (
            name,
            list(_differs(first, run)),
            json.dumps(_plain(run), indent=1),
        )
        for name, run in arms.items()
    ]


def made_by(origin: Mapping[str, Any], *, of: str = "") -> list[tuple[str, str]]:
    """Code, machine and packages that something was made by; `of`: what."""
    changed = " with local changes" if origin["local_changes"] else ""
    machine = origin["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in origin["packages"].items() if version)
    return [
        ("code", f"revision {origin['revision'] or 'unknown'}{changed}{of}"),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"),
        ("packages", f"Python {origin['python']}, {packages}"),
    ]


def _origin(origin: Mapping[str, Any], *, runs: str) -> list[tuple[str, str]]:
    trainer = origin["trainer"]
    trained = f"{trainer['device']}, {trainer['precision']}, {trainer['threads']} threads"
    code, machine, packages = made_by(origin, of=f", of {origin['runs']} {runs}")
    return [code, machine, ("trained on", trained + (", compiled" if trainer["compile"] else "")), packages]


def _differs(first: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The options that differ, then the fields, but those that the other option has instead."""
    found = [(key, value) for key, _, value in differences(first, run) if value is not None]
    for key, value in found:
        if key.endswith("_target_"):
            yield key.removesuffix("._target_"), str(value).split(".")[-2]
    yield from ((key, _short(value)) for key, value in found if not key.endswith("_target_"))


def _plain(value: Any) -> Any:
    """Without the names of classes, which say what the options' names say."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key != "_target_"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = json.dumps(_plain(value))
    return text if len(text) < 80 else text[:79] + "…"
