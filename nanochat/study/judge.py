"""From the scores of confirming runs to comparisons: at each scale by itself, adjusted over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanochat.stats.documents import DocumentVariance
from nanochat.stats.paired import Comparison, compare
from nanochat.stats.sequential import Spending
from nanochat.stats.standing import Standing, standings
from nanochat.study.axes import Arm
from nanochat.study.definition import Definition

# How looks spend the error: where the first one has three seeds, O'Brien and Fleming's would decide nothing there.
SPENDING: Spending = "pocock"

Scores = Mapping[tuple[str, int], float]
Documents = Callable[[str, str], DocumentVariance | None]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The comparisons among the arms of one scale. scores: [arms, seeds], NaN where a run has none · comparisons: by
    index into `arms` · standings: one for each arm."""

    scale: str
    arms: tuple[Arm, ...]
    scores: np.ndarray
    comparisons: Sequence[Comparison]
    standings: Sequence[Standing]


def scales_of(definition: Definition) -> list[str]:
    """The study's scales in order; one without a name where it has none."""
    return list(dict.fromkeys(arm.scale for arm in definition.arms))


def judge(
    definition: Definition, scores: Scores, *, seeds: int | None = None, documents: Documents | None = None
) -> list[Judged]:
    """The comparisons at each scale, by the test bits per byte of each arm and seed; of the first `seeds` alone.

    One adjustment covers all of them: every pair (or every arm against the baseline) at every scale.
    """
    scales = scales_of(definition)
    return [_judge(definition, scores, scale, len(scales), seeds=seeds, documents=documents) for scale in scales]


def seeds_wanted(definition: Definition, ended: Mapping[tuple[str, int], Mapping[str, Any]]) -> int:
    """How many seeds the study runs by what is known: up to the next look, or to the one at which all was decided.

    ended: `status` and `test_bpb` of the confirming runs that are over, by arm and seed; a failed one has no score.
    """
    looks = definition.reading.looks
    if not looks:
        return len(definition.seeds)
    scores = {pair: run["test_bpb"] for pair, run in ended.items() if run["status"] == "complete"}
    for look in looks[:-1]:
        over = all((arm.name, seed) in ended for arm in definition.arms for seed in definition.seeds[:look])
        if not over or decided(judge(definition, scores, seeds=look)):
            return look
    return len(definition.seeds)


def decided(judged: Sequence[Judged]) -> bool:
    """Whether no comparison is open."""
    return all(comparison.word != "undecided" for part in judged for comparison in part.comparisons)


def _judge(
    definition: Definition,
    scores: Scores,
    scale: str,
    families: int,
    *,
    seeds: int | None,
    documents: Documents | None,
) -> Judged:
    arms = tuple(arm for arm in definition.arms if arm.scale == scale)
    listed = definition.seeds[:seeds]
    table = np.array([[scores.get((arm.name, seed), np.nan) for seed in listed] for arm in arms], dtype=float)
    reading = definition.reading
    baseline = next((i for i, arm in enumerate(arms) if arm.alone == reading.baseline), None)
    comparisons = compare(
        table,
        baseline=baseline,
        rope=reading.rope,
        families=families,
        looks=reading.looks or None,
        spending=SPENDING,
        documents=documents and (lambda a, b: documents(arms[a].name, arms[b].name)),
    )
    found = standings(table, comparisons=comparisons, baseline=baseline)
    return Judged(scale=scale, arms=arms, scores=table, comparisons=comparisons, standings=found)
