"""What starting costs: `--help` and `import nanochat` against a bare interpreter, in pairs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 7

COMMANDS = {
    "bare_python_s": ["-c", "pass"],
    "import_nanochat_s": ["-c", "import nanochat"],
    "help_s": ["run.py", "--help"],
    "import_torch_s": ["-c", "import torch"],
}


def measure() -> dict[str, Any]:
    """Median seconds of each command, the commands taking turns; and whether --help imports torch."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    figures: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in times.items()}
    figures["help_of_import_torch"] = round(figures["help_s"] / figures["import_torch_s"], 3)
    probe = [sys.executable, "-X", "importtime", "run.py", "--help"]
    trace = subprocess.run(probe, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    figures["help_imports_torch"] = any(line.rsplit("|", 1)[-1].strip() == "torch" for line in trace.splitlines())
    return figures
