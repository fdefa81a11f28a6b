"""Shapes for models that are also used, and published rates."""

from __future__ import annotations

import numpy as np
import pytest

from nanochat.law.compute import SIX
from nanochat.law.lifetime import lifetime, reaching
from nanochat.law.published import batch_tokens, learning_rate
from tests.law.known import TRUTH


def test_tokens_that_reach_a_loss() -> None:
    d = reaching(TRUTH, np.array([1e9, 1e6]), 2.2)
    assert TRUTH.loss(1e9, d[0]) == pytest.approx(2.2) and d[1] == np.inf


def test_inference_makes_models_smaller_and_their_training_longer() -> None:
    alone = lifetime(TRUTH, SIX, 1e21, tokens=1.0)
    assert (alone.params, alone.tokens) == pytest.approx((TRUTH.params(1e21), TRUTH.tokens(1e21)), rel=0.01)
    used = lifetime(TRUTH, SIX, 1e21, tokens=1e12)
    assert used.params < 0.8 * alone.params and used.tokens > 1.2 * alone.tokens
    assert TRUTH.loss(used.params, used.tokens) == pytest.approx(TRUTH.best(1e21), rel=1e-9)
    assert used.training == pytest.approx(6 * used.params * used.tokens)
    assert used.inference == pytest.approx(2 * used.params * 1e12) and used.saved > 0.02
    # No other size that reaches the loss costs less.
    for n in np.geomspace(0.3, 1.5, 25) * used.params:
        d = float(reaching(TRUTH, np.array([n]), used.loss)[0])
        assert 6 * n * d + 2 * n * 1e12 >= (used.training + used.inference) * (1 - 1e-9)


def test_the_published_rates() -> None:
    """DeepSeek 67B: 3.2e-4 and 4608 sequences of 4096 at 2e12 tokens (2401.02954, table 2), within what they round."""
    c = 6 * 67e9 * 2e12
    assert learning_rate(c) == pytest.approx(3.2e-4, rel=0.25)
    assert batch_tokens(c) == pytest.approx(4608 * 4096, rel=0.35)
