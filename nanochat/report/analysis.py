"""What a study's files come to: comparisons and their certainty, the noise behind them, what goes with scale."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nanochat.report.documents import Documents, same_documents
from nanochat.report.frame import Frame
from nanochat.report.views import View, views
from nanochat.stats import FEWEST_SEEDS
from nanochat.stats.effect import standardised, superiority
from nanochat.stats.paired import Difference, Word
from nanochat.stats.power import power, seeds_needed
from nanochat.stats.standing import Standing, leader
from nanochat.stats.trend import Trend, trend
from nanochat.stats.tuning import TuningNoise, best_of
from nanochat.study.judge import Judged, judge
from nanochat.study.table import ArmResult, tuning_column

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Arm `a` against arm `b`, lower being better.

    effect: Hedges' d_z · superiority: probability that a new seed of a scores below b's · needed: seeds in all that
    would decide it with a chance of 80%, were the difference the one seen; None: no such number, or decided already ·
    bootstrap: the hierarchical bootstrap's interval, which is shown and never decides.
    """

    a: str
    b: str
    difference: Difference
    word: Word
    effect: float | None
    superiority: float | None
    needed: int | None
    bootstrap: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class ArmFinding:
    """One arm: its scores, where it stands, and the noise of its tuning."""

    result: ArmResult
    standing: Standing
    tuning: TuningNoise | None
    params: float | None

    @property
    def name(self) -> str:
        return self.result.name


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What seeds alone do. sd: of an arm's score over seeds · paired_sd: of a difference between two arms on one seed ·
    smallest: the difference that a comparison of `seeds`, the most that one has, at level `alpha` finds four times out
    of five, None below three; all pooled over arms."""

    sd: float
    paired_sd: float | None
    seeds: int
    alpha: float
    smallest: float | None


@dataclass(frozen=True, kw_only=True)
class ScaleFinding:
    """The comparison at one scale. params: mean parameters of its arms, None where no run is complete · leader: the arm
    that the others are compared with, None where it has no result."""

    scale: str
    params: float | None
    arms: Sequence[ArmFinding]
    pairs: Sequence[Pair]
    noise: Noise | None
    leader: ArmFinding | None


@dataclass(frozen=True, kw_only=True)
class TrendFinding:
    """How the difference a − b, by the arms' names at every scale, goes with the size of the model."""

    a: str
    b: str
    trend: Trend


@dataclass(frozen=True)
class Analysis:
    """Everything that the page says of a study, computed once."""

    frame: Frame

    @cached_property
    def obstacles(self) -> list[str]:
        """Why the scores cannot be compared at all."""
        found = []
        if len({text["fingerprint"] for text in self.frame.evidence.get("texts", [])}) > 1:
            found.append("the confirming runs read different texts, so their scores measure different things")
        elif not same_documents(self.frame.scores):
            found.append("the confirming runs were scored on different test documents")
        lacking = [row for row in self.frame.complete("seed") if row["key"] not in self.frame.scores]
        if self.frame.definition.reading.generalise == "documents" and lacking:
            rule = "study.generalise=documents needs the scores of documents"
            found.append(f"{rule}, and {len(lacking)} of {len(self.frame.test_scores)} confirming runs have none")
        return found

    @cached_property
    def documents(self) -> Documents:
        return Documents(self.frame)

    @cached_property
    def judged(self) -> list[Judged]:
        """Comparisons and standings at each scale; of nothing where scores cannot be compared."""
        definition = self.frame.definition
        scores = {} if self.obstacles else self.frame.test_scores
        generalise = definition.reading.generalise == "documents"
        return judge(definition, scores, documents=self.documents.variance if generalise else None)

    @property
    def comparisons(self) -> int:
        """Over how many comparisons the confidence is adjusted."""
        definition = self.frame.definition
        count = len(definition.arms) // max(1, len(self.judged))
        each = count - 1 if definition.reading.baseline else count * (count - 1) // 2
        return max(1, each * len(self.judged))

    @cached_property
    def scales(self) -> list[ScaleFinding]:
        return [self._scale(part) for part in self.judged]

    @cached_property
    def views(self) -> list[View]:
        """The comparison at equal budgets; of nothing where scores cannot be compared."""
        return [] if self.obstacles else views(self.frame)

    @cached_property
    def trends(self) -> list[TrendFinding]:
        """For every comparison, where there are several scales."""
        if len(self.judged) < 2 or any(scale.params is None for scale in self.scales):
            return []
        first, baseline = self.judged[0], self.frame.definition.reading.baseline
        names = [arm.alone for arm in first.arms]
        pairs = [
            (a, b)
            for a, b in itertools.combinations(range(len(names)), 2)
            if baseline is None or baseline in (names[a], names[b])
        ]
        pairs = [(b, a) if names[a] == baseline else (a, b) for a, b in pairs]
        found = []
        for a, b in pairs:
            gaps = [part.scores[a] - part.scores[b] for part in self.judged]
            if all(np.isfinite(gap).any() for gap in gaps):
                sizes = [scale.params or 0.0 for scale in self.scales]
                made = trend(gaps, sizes, comparisons=len(pairs), rope=self.frame.definition.reading.rope)
                if made is not None:
                    found.append(TrendFinding(a=names[a], b=names[b], trend=made))
        return found

    def _scale(self, part: Judged) -> ScaleFinding:
        frame = self.frame
        arms = [
            ArmFinding(
                result=frame.results[arm.name],
                standing=standing,
                tuning=self._tuning(arm.name),
                params=next((row["params"] for row in frame.confirming(arm.name)), None),
            )
            for arm, standing in zip(part.arms, part.standings, strict=True)
        ]
        sizes = [arm.params for arm in arms if arm.params is not None]
        return ScaleFinding(
            scale=part.scale,
            params=float(np.mean(sizes)) if sizes else None,
            arms=arms,
            pairs=self._pairs(part),
            noise=self._noise(part),
            leader=self._leader(part, arms),
        )

    def _leader(self, part: Judged, arms: Sequence[ArmFinding]) -> ArmFinding | None:
        baseline = self.frame.definition.reading.baseline
        first = leader(part.scores)
        if baseline is not None:
            first = [arm.alone for arm in part.arms].index(baseline)
        return arms[first] if first is not None and np.isfinite(part.scores[first]).any() else None

    def _pairs(self, part: Judged) -> list[Pair]:
        rope = self.frame.definition.reading.rope
        found = []
        for comparison in part.comparisons:
            a, b, gap = part.arms[comparison.a].name, part.arms[comparison.b].name, comparison.difference
            undecided = comparison.word == "undecided"
            found.append(
                Pair(
                    a=a,
                    b=b,
                    difference=gap,
                    word=comparison.word,
                    effect=standardised(gap),
                    superiority=superiority(gap),
                    needed=seeds_needed(gap, rope=rope, comparisons=1, confidence=gap.confidence)
                    if undecided
                    else None,
                    bootstrap=self.documents.bootstrap(a, b),
                )
            )
        return found

    def _tuning(self, arm: str) -> TuningNoise | None:
        """By the objective that decided."""
        column = tuning_column(self.frame.definition.objectives[0])
        tuned = [row[column] for row in self.frame.tuning(arm) if row["status"] == "complete"]
        return best_of(np.array(tuned, dtype=float)) if tuned else None

    def _noise(self, part: Judged) -> Noise | None:
        """None where no arm has two seeds."""
        own = [scores[np.isfinite(scores)] for scores in part.scores]
        sd = _pooled([scores for scores in own if len(scores) > 1])
        if sd is None:
            return None
        gaps = [part.scores[c.a] - part.scores[c.b] for c in part.comparisons]
        paired = _pooled([gap[np.isfinite(gap)] for gap in gaps if np.isfinite(gap).sum() > 1])
        most = max((c.difference for c in part.comparisons), key=lambda gap: gap.seeds, default=None)
        seeds, alpha = (most.seeds, 1 - most.confidence) if most else (0, 1 - CONFIDENCE)
        smallest = _smallest(paired, seeds, alpha) if paired and seeds >= FEWEST_SEEDS else None
        return Noise(sd=sd, paired_sd=paired, seeds=seeds, alpha=alpha, smallest=smallest)


def _pooled(groups: Sequence[np.ndarray]) -> float | None:
    """Standard deviation within groups, None where none has two values."""
    freedom = sum(len(group) - 1 for group in groups)
    return math.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / freedom) if freedom > 0 else None


def _smallest(sd: float, seeds: int, alpha: float, *, chance: float = 0.8) -> float:
    """The true difference that is found with this chance, by bisection."""
    low, high = 0.0, sd
    while power(high, sd, seeds=seeds, alpha=alpha) < chance:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, sd, seeds=seeds, alpha=alpha) >= chance else (middle, high)
    return high
