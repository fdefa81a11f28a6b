"""`task=report`: a study's report, from its runs where they are, else from its committed files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from nanochat.core.artifact import write_json
from nanochat.core.errors import nearest, spec_error
from nanochat.core.spec import load
from nanochat.report.collect import collect
from nanochat.report.notebook import PAGE
from nanochat.report.write import write_report
from nanochat.run.spec import Settings, settings
from nanochat.study import table
from nanochat.study.axes import typed_key
from nanochat.study.compare import CompareSpec, folder_of
from nanochat.study.definition import FILE, plain, read_definition
from nanochat.study.reopen import READING, folders, look, reread
from nanochat.task.base import StudyTaskSpec
from nanochat.task.conclude import show

# How scores are read may be said anew; what was run may not.
REREAD = READING - {"looks"}


class ReportSpec(StudyTaskSpec):
    """Write `experiments/<study>/`: the page, a README with a picture, and the small files that they are made from."""

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
        notebook, console = _notebook(spec, how), Console(highlight=False)
        folder = folder_of(spec, how, name=spec.name or notebook.name)
        if (folder / FILE).exists():
            _collect(folder, notebook, spec=spec, how=how)
        if any(typed_key(word).removeprefix("study.") in REREAD for word in words):
            _read_otherwise(notebook, spec, words)
        show(write_report(notebook), console)
        console.print(f"page: {notebook / PAGE}", soft_wrap=True)
        return 0


def _notebook(spec: CompareSpec, how: Settings) -> Path:
    """The study's folder in the notebook. Raises `SpecError` where neither that nor its runs are here."""
    experiments = Path(how.paths.experiments).expanduser().absolute()
    there = {path.name: path for path in folders(how.paths.studies)} | {p.name: p for p in folders(experiments)}
    if spec.dir is not None and (Path(spec.dir).expanduser() / FILE).exists():
        return experiments / read_definition(Path(spec.dir).expanduser()).name
    if spec.name is None:
        raise spec_error("study.name", None, "is needed: which study?", nearest("", there) or "there is none yet")
    if spec.name not in there:
        missing = f"no study of that name in {how.paths.studies} or {experiments}"
        raise spec_error("study.name", spec.name, missing, nearest(spec.name, there))
    return experiments / spec.name


def _collect(folder: Path, notebook: Path, *, spec: CompareSpec, how: Settings) -> None:
    definition, store, _ = look(folder, url=spec.storage, lease_seconds=spec.lease_seconds)
    if store is not None:
        rows, total = table.rows(store.trials()), store.total()
    else:  # in a database that was not named: as the last command left it
        rows = table.read_csv(folder / table.FILE, definition) if (folder / table.FILE).exists() else []
        total = None
    collect(definition, rows, settings=how, notebook=notebook, total=total)


def _read_otherwise(notebook: Path, spec: CompareSpec, words: Sequence[str]) -> None:
    """Change how the study is read, as the command says, in its definition."""
    definition = read_definition(notebook)
    if definition.design is not None:
        raise spec_error(
            "study.name", definition.name, "is a scaling study: it is read in one way", "leave the rest out"
        )
    if definition.reading.looks:
        raise spec_error(
            "study.looks", list(definition.reading.looks), "fix how this study is read", "leave it as it is"
        )
    reading = reread(definition.reading, words, spec=spec, names=REREAD)
    reading.check(definition.arms, seeds=len(definition.seeds))
    write_json(notebook / FILE, plain(replace(definition, reading=reading)))
