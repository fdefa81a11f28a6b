"""The noise of tuning: against every way of drawing again."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nanochat.stats.tuning import best_of


@pytest.mark.parametrize("scores", [[1.0, 2.0], [3.0, 1.0, 2.5], [1.0, 1.0, 4.0, 2.0], [5.0, 4.0, 3.0, 2.5, 2.0]])
def test_the_best_of_all_redraws(scores: list[float]) -> None:
    bests = [min(draw) for draw in itertools.product(scores, repeat=len(scores))]
    found = best_of(np.array([*scores, math.nan]))
    assert found is not None
    assert (found.best, found.second, found.trials) == (*sorted(scores)[:2], len(scores))
    assert found.expected == pytest.approx(np.mean(bests))
    assert found.sd == pytest.approx(np.std(bests))


def test_one_trial_has_no_noise_to_speak_of() -> None:
    assert best_of(np.array([1.0])) is best_of(np.array([1.0, math.nan])) is best_of(np.array([])) is None
