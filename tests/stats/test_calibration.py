"""Calibration error: by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nanochat.stats.calibration import expected_calibration_error


def test_calibration_error_by_hand() -> None:
    tokens, correct = np.array([10, 0, 30]), np.array([4, 0, 27])
    found = expected_calibration_error(tokens, correct, np.array([0.5, math.nan, 0.8]))
    assert found == pytest.approx(0.25 * 0.1 + 0.75 * 0.1)
    assert expected_calibration_error(tokens, correct, np.array([0.4, 0.0, 0.9])) == pytest.approx(0)
    with pytest.raises(ValueError, match="no bin"):
        expected_calibration_error(np.zeros(2), np.zeros(2), np.ones(2))
