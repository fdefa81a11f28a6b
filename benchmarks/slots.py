"""How busy slots are kept with trials whose lengths are spread 1:10, beside a scheduler that waits for each batch.

The trials only sleep: what is measured is the time between the end of one and the beginning of the next. A share is
that of slot-seconds in use while trials were still to be begun.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nanochat.core.artifact import write_json
from nanochat.study.pool import Pool
from nanochat.study.slots import open_slots
from nanochat.study.work import work_on
from tests.study.studies import open_small

SHORTEST, LONGEST = 1.0, 10.0
SIZES = {2: 20, 8: 64}  # slots to trials


def seconds_of(number: int) -> float:
    """How long trial `number` sleeps: spread evenly on the log scale, in an order without pattern."""
    share = math.modf((number + 1) * (math.sqrt(5) - 1) / 2)[0]
    return SHORTEST * (LONGEST / SHORTEST) ** share


def sleeping(request: dict[str, Any], channel: Connection) -> None:
    """Stands for a run."""
    number, folder = request["about"]["number"], Path(request["settings"]["paths"]["multirun"])
    began = time.time()
    time.sleep(seconds_of(number) if request["about"]["phase"] == "tune" else 0.0)
    if request["about"]["phase"] == "tune":
        write_json(folder / "slept" / f"{number}.json", [began, time.time()])
    scores = {"bpb": 1.0, "loss": 2.0}
    result = {"status": "complete", "reason": "", "tokens": 2, "seconds": 0.1, "valid": scores, "test": scores}
    channel.send({"kind": "result", "key": request["key"], **result})


def measure() -> dict[str, Any]:
    """Share of slot-seconds in use, of a study and of the same trials in batches, at two numbers of slots."""
    found: dict[str, Any] = {}
    for slots, trials in SIZES.items():
        with tempfile.TemporaryDirectory() as name:
            ours = _study(Path(name) / "study", slots=slots, trials=trials)
            batches = _batches(Path(name) / "batches", slots=slots, trials=trials)
        found |= {f"in_use_{slots}_slots": round(ours, 4), f"in_use_{slots}_slots_in_batches": round(batches, 4)}
    return found


def _study(folder: Path, *, slots: int, trials: int) -> float:
    words = (f"study.slots={slots}", f"study.trials={trials}", f"study.lag={4 * slots}", "sampler=random")
    work_on(open_small(folder, "lr.peak=tag(log, interval(1e-3, 1e-1))", *words), target=sleeping)
    return _in_use(folder / "multirun" / "slept", slots=slots)


def _batches(folder: Path, *, slots: int, trials: int) -> float:
    """As many at a time, the next ones when all have ended."""
    request = {"key": "", "settings": {"paths": {"multirun": str(folder)}}}
    given = {"gpus": None, "per_gpu": 1, "devices": 1, "threads": 1, "memory": lambda: None, "found": []}
    with open_slots("cpu", count=slots, **given) as places:
        pool = Pool(sleeping, slots=places)
        for first in range(0, trials, slots):
            for number in range(first, min(first + slots, trials)):
                pool.start({**request, "about": {"number": number, "phase": "tune"}}, tag=None)
            while pool.children:
                list(pool.events(0.5))
        pool.close()
    return _in_use(folder / "slept", slots=slots)


def _in_use(folder: Path, *, slots: int) -> float:
    import json

    spans: Sequence[list[float]] = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    first, last = min(began for began, _ in spans), max(began for began, _ in spans)
    busy = sum(min(ended, last) - began for began, ended in spans)
    return busy / (slots * (last - first))
