"""A report over a thousand trials: how long it takes from the runs' folders, and how large the page is.

One small run is really trained; its folder is copied with other scores, so that all files are what a run leaves.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nanochat.core.artifact import write_json
from nanochat.core.compose import compose
from nanochat.logger.csv import FILE as METRICS
from nanochat.report.collect import collect
from nanochat.report.notebook import PAGE
from nanochat.report.write import write_report
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.study import table
from nanochat.study.compare import Study, open_study
from nanochat.trainer.control import Silent
from tests.runs import SMALL

ARMS, SEEDS, TRIALS, STEPS = "mla,gqa,mha,mqa", "1,2,3,4,5", 245, 200


def measure() -> dict[str, Any]:
    """Seconds of gathering and of writing, and MB of the page and of the files to commit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, rows = made(folder)
        begun = time.perf_counter()
        collect(study.definition, rows, settings=study.settings, notebook=study.notebook, total=len(rows))
        gathered = time.perf_counter()
        write_report(study.notebook)
        written = time.perf_counter()
        small = sum(path.stat().st_size for path in study.notebook.iterdir() if path.name != PAGE)
        return {
            "trials": len(rows),
            "gathering_s": round(gathered - begun, 1),
            "writing_s": round(written - gathered, 1),
            "report_s": round(written - begun, 1),
            "page_mb": round((study.notebook / PAGE).stat().st_size / 1e6, 1),
            "committed_mb": round(small / 1e6, 2),
        }


def made(folder: Path) -> tuple[Study, list[table.Row]]:
    """A study of a thousand complete trials, none of them alike."""
    paths = (f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments")
    words = [*SMALL, *paths, f"stop.steps={STEPS}", "eval.evaluations=8"]
    search = ["lr.peak=tag(log, interval(1e-3, 1e-1))", "optimizer.weight_decay=interval(0, 0.3)"]
    study = open_study(
        compose(words), [*words, *search, f"attention={ARMS}", f"seed={SEEDS}", f"study.trials={TRIALS}"]
    )
    random, rows = np.random.default_rng(0), []
    for arm in study.definition.arms:
        run = study.first_run(arm)
        first = RunFolder(study.settings.paths.runs / execute(run, settings=study.settings, control=Silent())["key"])
        for number in range(TRIALS + len(study.definition.seeds)):
            tuned = number < TRIALS
            gain, key = random.normal(scale=0.02), f"{len(rows):016x}"
            _copy(first, RunFolder(first.path.parent / key), gain)
            result = first.result() or {}
            rows.append(
                {
                    **dict.fromkeys(table.TAIL),
                    "arm": arm.name,
                    "phase": "tune" if tuned else "seed",
                    "number": number if tuned else number - TRIALS,
                    "seed": 0 if tuned else study.definition.seeds[number - TRIALS],
                    "lr.peak": float(10 ** random.uniform(-3, -1)),
                    "optimizer.weight_decay": float(random.uniform(0, 0.3)),
                    "status": "complete",
                    "reason": "",
                    "valid_bpb": result["valid"]["bpb"] + gain,
                    "test_bpb": result["test"]["bpb"] + gain,
                    **{name: result[name] for name in ("tokens", "params", "active_params", "flops", "seconds")},
                    "state_bytes": result["state_bytes_per_token"],
                    "key": key,
                }
            )
    return replace(study, definition=replace(study.definition, name="thousand")), rows


def _copy(run: RunFolder, other: RunFolder, gain: float) -> None:
    shutil.copytree(run.path, other.path)
    lines = (other.path / METRICS).read_text().splitlines()
    place = lines[0].split(",").index("train_loss")
    cells = [line.split(",") for line in lines[1:]]
    for row in cells:
        row[place] = repr(float(row[place]) + gain)
    (other.path / METRICS).write_text("\n".join([lines[0], *map(",".join, cells)]) + "\n")
    write_json(other.result_file, json.loads(other.result_file.read_text()) | {"key": other.key})
