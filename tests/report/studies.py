"""Studies for tests of their reports: folders of runs as training leaves them, but for their models, and the notebook's
own files collected from them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nanochat.core.artifact import write_json
from nanochat.eval.record import write_record
from nanochat.eval.scores import Bins, Scores, Tally
from nanochat.logger.csv import CSVSpec
from nanochat.report.analysis import Analysis
from nanochat.report.collect import collect
from nanochat.report.frame import Frame
from nanochat.report.write import write_report
from nanochat.run.folder import RunFolder
from nanochat.run.spec import Settings
from nanochat.study.definition import Definition
from nanochat.study.reading import Reading
from nanochat.study.table import Row
from tests.runs import small
from tests.study.definitions import definition as searched

TOKENS, FLOPS = 1000, 1e6

# Test bits per byte by arm and seed; a word in its place: how the run ended.
Ends = Mapping[str, Sequence[float | str]]

CLEAR: Ends = {"mla": (1.50, 1.52, 1.51), "gqa": (2.00, 2.03, 2.01)}


def definition(ends: Ends, *, reading: Reading | None = None, **more: Any) -> Definition:
    """A study of those arms, untuned, on seeds from 1 on; `name @ scale` is an arm at a scale."""
    seeds = range(1, 1 + max(map(len, ends.values())))
    found = searched(arms=tuple(ends), tuned=more.pop("tuned", ()), seeds=tuple(seeds))
    arms = tuple(replace(arm, scale=arm.name.partition(" @ ")[2]) for arm in found.arms)
    return replace(found, **{"arms": arms, "reading": reading or Reading(), **more})


def rows(ends: Ends) -> list[Row]:
    """The confirming runs."""
    return [
        row(arm, end, number=number, seed=number + 1) for arm, own in ends.items() for number, end in enumerate(own)
    ]


def row(arm: str, end: float | str, *, number: int, seed: int, phase: str = "seed", **params: Any) -> Row:
    """One run, by its score or by how it ended."""
    good = not isinstance(end, str)
    score = {"valid_bpb": end + 0.01 if good else None, "valid_loss": end if good else None} | (
        {"test_bpb": end if good else None, "loss": end if good else None}
    )
    size = 1e5 if arm.endswith("large") else 1e4
    return {
        **{"arm": arm, "phase": phase, "number": number, "seed": seed, **params},
        "status": "complete" if good else end,
        "reason": "" if good else f"why {arm} {end}",
        "tokens": TOKENS if good else 10,
        **score,
        **{"params": size, "active_params": size, "flops": FLOPS, "state_bytes": 64.0},
        "key": f"{arm}-{phase}-{number}".replace(" ", ""),
        "seconds": 0.5 + 0.01 * seed,
    }


def write_run(row: Row, *, how: Settings, text: str = "texts", offset: float = 0.0) -> None:
    """The folder of a complete run: a curve that ends at its score, and documents that come to it."""
    folder = RunFolder(how.paths.runs / row["key"])
    if row["status"] != "complete":
        return
    run = {"attention": {"_target_": f"nanochat.attention.{row['arm'][:3]}.Spec", "kind": row["arm"]}}
    trainer = {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
    machine = {"system": "Linux", "processor": "made up", "cores": 2}
    origin = {"revision": "abc", "local_changes": False, "python": "3.11", "packages": {"torch": "2"}}
    provenance = {**origin, "machine": machine, "command": []}
    write_json(folder.spec_file, {"run": {**run, "trainer": trainer}, "provenance": provenance})
    folder.write_result(
        {
            "status": "complete",
            "corpus": {"describe": f"the {text}", "fingerprint": text},
            "reference": {"unigram_bpb": 4.5, "entropy_bpb": None},
            "coverage": {"share": 0.5, "epochs": 0.5, "train_tokens": 2000},
            "non_embedding_params": 5000,
            "peak_memory_mib": 100.0,
        }
    )
    log = CSVSpec().open(folder.path, key=folder.key, step=0, config={}, about=None)
    for step in range(1, 5):
        share = step / 4
        now = row["valid_bpb"] + 1 - share
        valid: dict[str, Any] = dict.fromkeys(("valid_bpb", "valid_loss"), now if step % 2 == 0 else None)
        spent = {"step": step, "tokens": int(TOKENS * share), "seconds": row["seconds"] * share}
        trained: dict[str, Any] = {"train_loss": row["valid_loss"] + 1 - share, "grad_norm": 1.0 + row["valid_bpb"]}
        log.log({**spent, **trained, **valid})
    log.close()
    write_record(folder.record_file, record(row["test_bpb"], seed=row["seed"], text=text))


def record(bpb: float, *, seed: int, text: str = "texts") -> Scores:
    """Eight documents of all lengths that come to `bpb` together, and bins that do too."""
    sizes = np.array([3, 10, 20, 40, 80, 100, 200, 300])
    wave = 1 + 0.1 * np.sin(np.arange(8) + seed)
    nats = sizes * wave
    nats *= bpb * sizes.sum() * math.log(2) / nats.sum()
    documents = Tally(sizes // 2 + 1, sizes, nats, sizes // 4, np.full(8, 0.5))
    two = Tally(np.array([60, 40]), np.array([400, 353]), np.array([0.4, 0.6]) * nats.sum(), np.array([30, 36]),
                np.array([0.45, 0.85]))  # fmt: skip
    bins = Bins(np.array([1.0, 10.0]), np.array([10.0, 100.0]), two)
    names = tuple(f"{text} {i}" for i in range(8))
    return Scores(names=names, hashes=names, documents=documents, position=bins, frequency=bins, confidence=bins)


@functools.cache
def _settings() -> Settings:
    return small(Path("/nowhere"))[1]


def settings_in(folder: Path) -> Settings:
    """Settings that keep everything under `folder`; composed once."""
    there = {"multirun": str(folder / "multirun"), "experiments": str(folder / "experiments")}
    return _settings().model_copy(update={"paths": _settings().paths.model_copy(update=there)})


def collected(
    folder: Path, ends: Ends, *, more: Sequence[Row] = (), texts: Mapping[str, str] | None = None, **study: Any
) -> Path:
    """Fake the runs, collect them: the study's folder in the notebook. texts: what an arm's runs read."""
    what, found = definition(ends, **study), [*more, *rows(ends)]
    places = [arm.name for arm in what.arms]
    found.sort(key=lambda row: (places.index(row["arm"]), row["phase"] != "tune", row["number"]))
    how = settings_in(folder)
    for one in found:
        write_run(one, how=how, text=(texts or {}).get(one["arm"], "texts"))
    notebook = folder / "experiments" / what.name
    collect(what, found, settings=how, notebook=notebook, total=len(found))
    return notebook


def reported(folder: Path, ends: Ends, **study: Any) -> tuple[Analysis, Path]:
    """The report of such a study, and where it lies."""
    notebook = collected(folder, ends, **study)
    found = write_report(notebook)
    assert isinstance(found, Analysis)
    return found, notebook


def framed(ends: Ends, **study: Any) -> Analysis:
    """What such a study comes to, of its table alone: nothing is written."""
    more = study.pop("more", ())
    return Analysis(Frame(definition(ends, **study), [*more, *rows(ends)]))
