"""The run that another one continues: whether the two are the same up to there, and its state to go on from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from nanochat.core.artifact import atomic_path
from nanochat.core.errors import Problem, SpecError, alternatives, join_key, spec_error
from nanochat.core.provenance import changed_files
from nanochat.core.spec import TARGET, dump, load, option_of
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings
from nanochat.trainer.callbacks.record import Record, begun_at

# What may be otherwise: how long it goes on, and how it is watched. The rates are compared step by step.
FREE = ("start", "stop", "lr", "eval")


def trunk_state(spec: RunSpec, *, settings: Settings, code: dict[str, str] | None = None) -> Path:
    """The file with the state that the resolved `spec` goes on from, as its `start` says.

    `code`: fingerprint of what it is run with; None for that of this process. Raises `SpecError` where there is no
    such state, or where the run that it is of did anything up to there that a run of `spec` from scratch would not.
    """
    key, tokens = spec.start.run, spec.start.tokens
    assert key is not None and tokens is not None
    folder = RunFolder(settings.paths.runs / key)
    trunk = _complete(folder)
    if settings.code != "accept":
        _check_code(folder, code)
    _check_same(spec, trunk, key=key)
    _check_texts(spec, folder, cache=settings.paths.cache)
    if not folder.milestone_file(tokens).exists():
        kept = folder.milestones()
        rule = f"run {key} kept no state there"
        remedy = "it has none: a run keeps one where lr=wsd begins to decay, or lr=constant ends, with milestones=true"
        raise spec_error("start.tokens", tokens, rule, f"try {alternatives(kept)}" if kept else remedy)
    _check_rates(spec, trunk, key=key)
    return folder.milestone_file(tokens)


def begin(spec: RunSpec, trunk: Path, *, folder: RunFolder) -> None:
    """Make the state in `trunk` the checkpoint in `folder`: from here on it is a run that was stopped there."""
    state = torch.load(trunk, map_location="cpu", weights_only=True, mmap=True)
    state["callbacks"][Record.__qualname__] = begun_at(spec.first_step)
    with atomic_path(folder.state_file) as part:
        torch.save(state, part)
    folder.log(f"goes on from run {spec.start.run} after {spec.start.tokens:,} tokens")


def _complete(folder: RunFolder) -> RunSpec:
    """What a run is, where it is complete."""
    description, result = folder.description(), folder.result()
    if description is None:
        raise spec_error("start.run", folder.key, f"no such run is in {folder.path.parent}", "train it first")
    again = f"python -m nanochat.run {folder.spec_file}"
    if result is None or result["status"] != "complete":
        status = result["status"] if result else "unfinished"
        raise spec_error("start.run", folder.key, f"is {status}, not complete", f"finish it: {again}")
    try:
        return load(description["run"], RunSpec)
    except SpecError:
        raise spec_error("start.run", folder.key, "was described by other code", "train it again") from None


def _check_code(folder: RunFolder, code: dict[str, str] | None) -> None:
    description = folder.description()
    assert description is not None
    if changed := changed_files(description["code"], now=code):
        listed = ", ".join(changed[:6]) + (" …" if len(changed) > 6 else "")
        again = f"make it again: python -m nanochat.run {folder.spec_file} code=rerun"
        rule = f"was made by other code: {listed}"
        raise spec_error("start.run", folder.key, rule, f"use code=accept to take it as it is, or {again}")


def _check_same(spec: RunSpec, trunk: RunSpec, *, key: str) -> None:
    """Everything but `FREE`, and the rates of groups of parameters."""
    ours, theirs = dump(spec), dump(trunk)
    for run in (ours, theirs):
        factors = run["lr"]["factors"]
        for name in FREE:
            del run[name]
        run["lr"] = {"factors": factors}
    problems = [
        Problem(key=at, value=a, rule=f"is {b} in run {key}, which this one continues", remedy=f"use {at}={b}")
        for at, a, b in _differences(ours, theirs)
    ]
    if problems:
        raise SpecError(problems)


def _differences(ours: Any, theirs: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key and both values, as they are typed, of all that differs in two dumps; options that differ as such."""
    sections = isinstance(ours, Mapping) and isinstance(theirs, Mapping)
    if sections and ours.get(TARGET) == theirs.get(TARGET):
        for name in ours:
            yield from _differences(ours[name], theirs[name], join_key(at, name))
    elif ours != theirs:
        yield at, _typed(ours), _typed(theirs)


def _typed(value: Any) -> Any:
    if isinstance(value, Mapping) and TARGET in value:
        return value[TARGET].split(".")[-2]
    return value if isinstance(value, str) else json.dumps(value)


def _check_texts(spec: RunSpec, folder: RunFolder, *, cache: Path) -> None:
    """Equal Specs may read files that were changed in between."""
    result = folder.complete()
    assert result is not None
    if spec.data.fingerprint(cache) != result["corpus"]["fingerprint"]:
        rule = f"its texts are no longer those that run {folder.key} was trained on"
        raise spec_error("data", option_of(spec.data), rule, "bring them back, or train that run on these")


def _check_rates(spec: RunSpec, trunk: RunSpec, *, key: str) -> None:
    """Both have the same rate at every step before the start."""
    steps = range(spec.first_step)
    rates = ((step, *(run.lr.rate(step, steps=run.steps) for run in (spec, trunk))) for step in steps)
    found = next(((step, ours, theirs) for step, ours, theirs in rates if ours != theirs), None)
    if found is None:
        return
    step, ours, theirs = found
    there = f"in run {key}, which this one continues"
    warmup, other = (run.lr.warmup_steps(run.steps) for run in (spec, trunk))
    if spec.lr.peak != trunk.lr.peak:
        what, value, rule = "lr.peak", spec.lr.peak, f"is {trunk.lr.peak} {there}"
        remedy = f"use lr.peak={trunk.lr.peak}"
    elif warmup != other:
        what, value, rule = "lr.warmup", spec.lr.warmup, f"is {warmup} steps here and {other} {there}"
        remedy = f"use lr.warmup={other or '0.0'}"
    else:
        what, value = "lr", option_of(spec.lr)
        rule = f"at step {step} the rate is {ours:.6g} here and {theirs:.6g} {there}"
        remedy = "use lr=wsd, whose rate is the same in runs of every length up to its decay"
    raise spec_error(what, value, rule, remedy)
