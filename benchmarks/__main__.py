"""`python -m benchmarks [name …]`: run the benchmarks, print their figures, keep them in benchmarks/results/."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch

from benchmarks import page
from nanochat.core.artifact import write_json
from nanochat.core.provenance import provenance

FOLDER = Path(__file__).parent
NAMES = (
    "startup", "study_overhead", "slots", "latency", "memory", "joblib_sweep", "report", "laws", "planner",
    "components",
)  # fmt: skip


def main(names: list[str]) -> int:
    gpu = ("gpu",) if torch.cuda.is_available() else ()
    for name in names or (*NAMES, *gpu):
        print(f"── {name}", flush=True)
        figures = importlib.import_module(f"benchmarks.{name}").measure()
        for key, value in figures.items():
            print(f"   {key}: {value}", flush=True)
        about = {key: provenance()[key] for key in ("python", "packages", "machine")}
        write_json(FOLDER / "results" / f"{name}.json", {"figures": figures, **about})
    page.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
