"""The hierarchical bootstrap of a paired difference: for showing beside the t interval, never for deciding."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Num


def bootstrap_interval(
    a: Float[np.ndarray, "seeds documents"],
    b: Float[np.ndarray, "seeds documents"],
    *,
    sizes: Num[np.ndarray, " documents"],
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of a − b in bits per byte, from the nats on each document and its bytes.

    Each draw takes seeds, then documents, with replacement. No word may rest on it: with a handful of seeds a
    resample repeats the few there are, and an interval that says 95% covers only about 65, 77 and 85% at 2, 3 and 5
    seeds. Seeds where either arm is not finite are left out; raises ValueError where none is left.
    """
    bits = (a - b) / math.log(2)
    bits = bits[np.isfinite(bits).all(axis=1)]
    seeds, documents = bits.shape
    if seeds == 0:
        raise ValueError("no seed has all documents of both arms")
    random = np.random.default_rng(seed)
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    of_documents = random.multinomial(documents, np.full(documents, 1 / documents), size=draws)
    values = ((of_seeds @ bits) * of_documents).sum(axis=1) / (of_documents @ sizes)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
