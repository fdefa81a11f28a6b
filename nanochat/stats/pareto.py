"""Which of several points no other point beats in everything."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other dominates, lower being better in every coordinate; equal points all stay.

    A point dominates another if it is nowhere worse and somewhere better. O(n²) comparisons.
    """
    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
