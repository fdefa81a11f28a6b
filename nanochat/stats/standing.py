"""Where each arm of a study stands: one word an arm, read from the comparisons of its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from nanochat.stats.paired import Comparison, Difference, Word

StandingWord = Literal["best", "better", "worse", "equivalent", "undecided", "baseline", "alone", "no result"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is concluded of one arm: the word, and its difference to the leader, or to the baseline where one is set.

    `difference` is None for the leader or baseline itself and where no seed is shared with it.
    """

    word: StandingWord
    difference: Difference | None


def leader(scores: Float[np.ndarray, "arms seeds"]) -> int | None:
    """The arm with the lowest mean among those with the most scores (the first of equals); None without scores.

    An arm that failed on some seeds does not lead by the seeds it was lucky on.
    """
    counts = np.isfinite(scores).sum(axis=1)
    if counts.max(initial=0) == 0:
        return None
    means = np.full(len(scores), np.inf)
    full = counts == counts.max()
    means[full] = np.mean(scores[full], axis=1, where=np.isfinite(scores[full]))
    return int(means.argmin())


def standings(
    scores: Float[np.ndarray, "arms seeds"], *, comparisons: Sequence[Comparison], baseline: int | None = None
) -> list[Standing]:
    """One standing for each arm, read from the `comparisons` of the same scores.

    Against the leader an arm is worse, equivalent or undecided. (One that failed on some seeds may be better on the
    rest; it stays undecided.) The leader is best when every other arm is worse, equivalent when some are equivalent
    and the rest worse, undecided until then, and alone when there is no other arm. Against a baseline an arm may be
    better too.
    """
    arms = range(len(scores))
    first = leader(scores) if baseline is None else baseline
    if first is None:
        return [Standing(word="no result", difference=None) for _ in arms]
    found = [_against(arm, first, scores=scores, comparisons=comparisons) for arm in arms]
    if baseline is not None:
        if found[first].word != "no result":
            found[first] = Standing(word="baseline", difference=None)
        return found
    found = [_undecided_if_better(standing) for standing in found]
    others = {standing.word for arm, standing in enumerate(found) if arm != first}
    found[first] = Standing(word=_leaders_word(others), difference=None)
    return found


def _against(
    arm: int, first: int, *, scores: Float[np.ndarray, "arms seeds"], comparisons: Sequence[Comparison]
) -> Standing:
    if not np.isfinite(scores[arm]).any():
        return Standing(word="no result", difference=None)
    for pair in comparisons:
        if (pair.a, pair.b) == (arm, first):
            return Standing(word=pair.word, difference=pair.difference)
        if (pair.a, pair.b) == (first, arm):
            return Standing(word=_MIRRORED.get(pair.word, pair.word), difference=pair.difference.mirrored)
    return Standing(word="undecided", difference=None)


_MIRRORED: dict[Word, Word] = {"better": "worse", "worse": "better"}


def _undecided_if_better(standing: Standing) -> Standing:
    return Standing(word="undecided", difference=standing.difference) if standing.word == "better" else standing


def _leaders_word(others: set[StandingWord]) -> StandingWord:
    if not others:
        return "alone"
    if others == {"worse"}:
        return "best"
    return "equivalent" if others <= {"worse", "equivalent"} else "undecided"
