"""What confirming runs scored, document by document and by kind of token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nanochat.report.frame import Frame
from nanochat.report.notebook import Columns
from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.bootstrap import bootstrap_interval
from nanochat.stats.calibration import expected_calibration_error
from nanochat.stats.documents import DocumentVariance, document_variance

# Each a kind of row in scores.parquet, with what its bins are bins of.
KINDS = {
    "length": "bytes of the document",
    "position": "tokens read before",
    "frequency": "occurrences in the training split",
}


@dataclass(frozen=True)
class Line:
    """Bits per byte of one arm over bins from `low` on: mean over its seeds, and standard deviation (NaN for one)."""

    arm: str
    low: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class Documents:
    """The scores of a study's confirming runs."""

    frame: Frame

    @cached_property
    def keys(self) -> dict[str, dict[int, str]]:
        """Of each arm, by seed, the runs whose scores are there."""
        found: dict[str, dict[int, str]] = {arm: {} for arm in self.frame.arms}
        for row in self.frame.complete("seed"):
            if row["key"] in self.frame.scores:
                found[row["arm"]][row["seed"]] = row["key"]
        return found

    def variance(self, a: str, b: str) -> DocumentVariance | None:
        """What new documents add to the variance of the difference between two arms."""
        pair = self._nats(a, b)
        return document_variance(pair[0], pair[1], sizes=pair[2]) if pair else None

    def bootstrap(self, a: str, b: str) -> tuple[float, float] | None:
        """The hierarchical bootstrap's interval of the difference; None below three shared seeds."""
        pair = self._nats(a, b)
        enough = pair is not None and len(pair[0]) >= FEWEST_SEEDS
        return bootstrap_interval(pair[0], pair[1], sizes=pair[2]) if pair and enough else None

    def by(self, kind: str) -> list[Line]:
        """Bits per byte of each arm by length of the document, by position in it, or by frequency of the token."""
        return [line for arm in self.frame.arms if (line := self._line(arm, kind)) is not None]

    def calibration_error(self, arm: str) -> list[float]:
        """Of each run of the arm."""
        return [expected_calibration_error(*self._reliability(key)) for key in self.keys[arm].values()]

    def reliability(self, arm: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean confidence and share right in each bin of confidence, all runs of the arm together."""
        parts = [self._reliability(key) for key in self.keys[arm].values()]
        if not parts:
            return None
        tokens, correct, confidence = (np.concatenate(column) for column in zip(*parts, strict=True))
        bins = np.minimum((confidence * 20).astype(int), 19)
        count = np.bincount(bins, weights=tokens, minlength=20)
        filled = count > 0
        sure = np.bincount(bins, weights=tokens * confidence, minlength=20)[filled] / count[filled]
        return sure, np.bincount(bins, weights=correct, minlength=20)[filled] / count[filled]

    def _reliability(self, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = of_kind(self.frame.scores[key], "confidence")
        return part["tokens"], part["correct"], part["confidence"]

    def _nats(self, a: str, b: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Nats of both arms, [seeds, documents], and the documents' bytes; None without a shared seed."""
        seeds = sorted(self.keys[a].keys() & self.keys[b].keys())
        if not seeds:
            return None
        first, second = (
            [of_kind(self.frame.scores[self.keys[arm][seed]], "document") for seed in seeds] for arm in (a, b)
        )
        return (
            np.stack([part["nats"] for part in first]),
            np.stack([part["nats"] for part in second]),
            first[0]["bytes"],
        )

    def _line(self, arm: str, kind: str) -> Line | None:
        runs = [self._bins(key, kind) for key in self.keys[arm].values()]
        if not runs:
            return None
        low = np.unique(np.concatenate([run[0] for run in runs]))
        values = np.full((len(runs), len(low)), np.nan)
        for row, (edges, bpb) in zip(values, runs, strict=True):
            row[np.searchsorted(low, edges)] = bpb
        mean, sd = np.nanmean(values, axis=0), np.full(len(low), np.nan)
        several = np.isfinite(values).sum(axis=0) > 1
        sd[several] = np.nanstd(values[:, several], axis=0, ddof=1)
        return Line(arm=arm, low=low, mean=mean, sd=sd)

    def _bins(self, key: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower edges and bits per byte."""
        if kind == "length":
            part = of_kind(self.frame.scores[key], "document")
            powers = 2.0 ** np.floor(np.log2(np.maximum(part["bytes"], 1)))
            low, at = np.unique(powers, return_inverse=True)
            nats, size = (np.bincount(at, weights=part[name]) for name in ("nats", "bytes"))
            return low, nats / math.log(2) / size
        part = of_kind(self.frame.scores[key], kind)
        filled = part["bytes"] > 0
        return part["low"][filled], part["nats"][filled] / math.log(2) / part["bytes"][filled]


def of_kind(scores: Columns, kind: str) -> dict[str, np.ndarray]:
    """The rows of one kind."""
    rows = scores["kind"] == kind
    return {name: values[rows] for name, values in scores.items()}


def same_documents(scores: Mapping[str, Columns]) -> bool:
    """Whether all runs were scored on the same documents, in the same order."""
    hashes: Sequence[tuple[str, ...]] = [tuple(of_kind(part, "document")["hash"]) for part in scores.values()]
    return len(set(hashes)) < 2
