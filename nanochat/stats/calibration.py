"""Whether a model is right as often as it is sure."""

from __future__ import annotations

import numpy as np
from jaxtyping import Num


def expected_calibration_error(
    tokens: Num[np.ndarray, " bins"], correct: Num[np.ndarray, " bins"], confidence: Num[np.ndarray, " bins"]
) -> float:
    """Σ tokens / total · |correct / tokens − confidence| over bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    `tokens` and those of them predicted `correct` in each bin, with the mean `confidence` in it, from 0 to 1; empty
    bins are left out, whatever their confidence. Raises ValueError without any token.
    """
    filled = tokens > 0
    if not filled.any():
        raise ValueError("no bin has a token")
    gaps = np.abs(correct[filled] / tokens[filled] - confidence[filled])
    return float(tokens[filled] @ gaps / tokens.sum())
