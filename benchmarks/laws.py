"""A law fitted to the 240 extracted points of Chinchilla, once and to 1,000 resampled tables; the same fit by the
`chinchilla` package (for development only), from the ranges of starts in its readme, at its own precision.

Needs the table under data/scaling/besiroglu beside the repository; see tests/shared_texts.py.
"""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nanochat.law.bootstrap import resampled
from nanochat.law.fit import fit
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.profile import profile
from tests.shared_texts import BESIDE_THE_REPOSITORY

TURNS, RESAMPLES, DELTA = 5, 1000, 1e-3

# The readme's ranges, with three levels instead of five: 243 starts. How it stops is the
# package's own: the mean of the losses, and BFGS at its default tolerance.
GRID = {
    "E": np.linspace(1, 2, 3),
    "a": np.linspace(1, 10, 3),
    "b": np.linspace(1, 10, 3),
    "alpha": np.linspace(0.1, 0.7, 3),
    "beta": np.linspace(0.1, 0.7, 3),
}


def measure() -> dict[str, Any]:
    """Seconds of a fit, of a profile and of all resamples; the peer's seconds over ours, and either's objective."""
    inputs, loss = table()
    found, seconds = timed(lambda: fit(Hoffmann, inputs, loss), turns=TURNS)
    _, drawing = timed(
        lambda: resampled(inputs, loss, clusters=range(len(loss)), near=found.law, count=RESAMPLES, seed=0), turns=3
    )
    _, profiling = timed(lambda: profile(inputs, loss, near=found.law, value=lambda law: law.alpha), turns=TURNS)
    theirs, peer_seconds = timed(lambda: peer(inputs, loss), turns=1)
    return {
        "rows": len(loss),
        "fit_s": round(seconds, 4),
        "starts": found.certificate.starts,
        "profile_s": round(profiling, 3),
        f"refits_{RESAMPLES}_s": round(drawing, 2),
        "chinchilla_s": round(peer_seconds, 1),
        "chinchilla_starts": 3**5,
        "chinchilla_of_fit": round(peer_seconds / seconds),
        "chinchilla_of_fit_per_start": round(peer_seconds / 3**5 / (seconds / found.certificate.starts), 1),
        "objective": round(found.objective, 10),
        "chinchilla_objective": round(objective(theirs, inputs, loss), 10),
        "alpha": round(found.law.alpha, 5),
        "chinchilla_alpha": round(theirs.alpha, 5),
    }


def table() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The rows without the five highest losses."""
    folder = Path(os.environ.get("NANOCHAT_SHARED", BESIDE_THE_REPOSITORY)) / "data" / "scaling"
    with (folder / "besiroglu" / "svg_extracted_data.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["loss"]))[:-5]
    n, flops, loss = (np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss"))
    return {"n": n, "d": flops / 6 / n}, loss


def timed(work: Callable[[], Any], *, turns: int) -> tuple[Any, float]:
    """What it gives, and the median seconds of a turn."""
    seconds = []
    for _ in range(turns):
        began = time.perf_counter()
        given = work()
        seconds.append(time.perf_counter() - began)
    return given, median(seconds)


def objective(law: Hoffmann, inputs: Mapping[str, np.ndarray], loss: np.ndarray) -> float:
    """The sum of Huber losses of log residuals."""
    size = np.abs(np.log(law.loss(inputs["n"], inputs["d"])) - np.log(loss))
    inside = np.minimum(size, DELTA)
    return float(np.sum(inside * (size - inside / 2)))


def peer(inputs: Mapping[str, np.ndarray], loss: np.ndarray) -> Hoffmann:
    """The same law by the package."""
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    with tempfile.TemporaryDirectory() as folder:
        theirs = Chinchilla(
            folder, param_grid=GRID, log_level=40, loss_fn=lambda y_true, y_pred: log_huber(y_true, y_pred, DELTA)
        )
        for n, d, value in zip(inputs["n"], inputs["d"], loss, strict=True):
            theirs.database.append(N=n, D=d, loss=value)
        theirs.fit(parallel=False)
    return Hoffmann(**{name: float(getattr(theirs, name)) for name in ("E", "A", "B", "alpha", "beta")})
