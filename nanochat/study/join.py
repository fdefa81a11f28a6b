"""Who may work on a study together: those with the same definition, the same texts and the same code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nanochat.core.artifact import read_json, write_json
from nanochat.core.errors import SpecError, spec_error
from nanochat.core.provenance import changed_files, code_fingerprint
from nanochat.study.definition import FILE, Definition, described, differences, open_definition, plain, read_definition
from nanochat.study.journal import alone

# The fingerprint of the code that began the study, or its newest round.
CODE = "code.json"


def join(folder: Path, wanted: Definition, *, others: Sequence[str]) -> Definition:
    """The study as it is stored; stored first, if it is new. Of two that begin it at once the first one decides.

    Raises `SpecError` naming the differences where it is another study, or is searched in another way by `others`,
    the workers that are on it now.
    """
    with alone(folder):
        definition = open_definition(folder, wanted)
        if (folder / FILE).exists():
            stored = read_definition(folder)
            if stored.searches() != definition.searches() and others:
                raise _searched_otherwise(stored, definition, others)
        write_json(folder / FILE, plain(definition))
    return definition


def meet_code(
    folder: Path, definition: Definition, *, rule: Literal["refuse", "accept", "rerun"], others: Sequence[str]
) -> Definition:
    """The study for this code: as it is, or, by the user's word, in a new round that runs everything again.

    Raises `SpecError` naming the files that differ from those of the code that began it.
    """
    now = code_fingerprint()
    with alone(folder):
        changed = changed_files(read_json(folder / CODE), now=now) if (folder / CODE).exists() else []
        if not (folder / CODE).exists():
            write_json(folder / CODE, now)
        if not changed or rule == "accept":
            return definition
        if rule == "refuse" or others:
            raise _other_code(definition, changed, others)
        definition = replace(definition, round=definition.round + 1)
        write_json(folder / FILE, plain(definition))
        write_json(folder / CODE, now)
    return definition


def _searched_otherwise(stored: Definition, wanted: Definition, others: Sequence[str]) -> SpecError:
    found = list(differences(stored.searches(), wanted.searches()))
    head = spec_error(
        "study.name",
        stored.name,
        f"is being searched in another way by {', '.join(others)}",
        "repeat its own command, or wait until it is done",
    )
    return SpecError([*head.problems, *described(found)])


def _other_code(definition: Definition, changed: Sequence[str], others: Sequence[str]) -> SpecError:
    listed = ", ".join(changed[:6]) + (" …" if len(changed) > 6 else "")
    remedy = "use code=accept to go on all the same, or code=rerun to run everything again"
    if others:
        remedy = f"{', '.join(others)} works on it now: check out the same code, or wait and {remedy}"
    return spec_error("code", None, f"study {definition.name} was begun by other code: {listed}", remedy)
