"""Many simulated studies at once: what `compare` does, vectorised over studies, and held equal to it by a test."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import t


def intervals(scores: np.ndarray, *, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends, [studies, pairs], for scores [studies, arms, seeds]."""
    arms, seeds = scores.shape[1:]
    gaps = np.stack([scores[:, a] - scores[:, b] for a, b in itertools.combinations(range(arms), 2)], axis=1)
    alpha = (1 - confidence) / gaps.shape[1]
    means = gaps.mean(axis=2)
    half = t.isf(alpha / 2, seeds - 1) * gaps.std(axis=2, ddof=1) / np.sqrt(seeds)
    return means - half, means + half


def noise(kind: str, *, studies: int, arms: int, seeds: int, seed: int) -> np.ndarray:
    """Scores of arms that do not differ but by noise, [studies, arms, seeds]."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(studies, arms, seeds))
    if kind in ("heteroscedastic", "both"):
        scores *= np.geomspace(0.2, 5, arms)[:, None]
    if kind in ("correlated", "both"):
        scores += 3 * random.normal(size=(studies, 1, seeds))
    return scores


def slack(rate: float, studies: int) -> float:
    """Four standard errors of a simulated rate."""
    return 4 * (rate * (1 - rate) / studies) ** 0.5


def t_statistics(gaps: np.ndarray, *, looks: tuple[int, ...]) -> np.ndarray:
    """The paired t statistic at each look, [..., looks], of gaps [..., seeds]."""
    return np.stack([gaps[..., :n].mean(-1) / (gaps[..., :n].std(-1, ddof=1) / np.sqrt(n)) for n in looks], axis=-1)
