"""The front of several points, against the definition tried on every pair."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nanochat.stats.pareto import dominates, front

POINTS = st.integers(1, 3).flatmap(lambda size: st.lists(st.tuples(*[st.integers(0, 4)] * size), max_size=12))


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, ...]]) -> None:
    expected = []
    for i, point in enumerate(points):
        beaten = False
        for other in points:
            worse = sum(a > b for a, b in zip(other, point, strict=True))
            better = sum(a < b for a, b in zip(other, point, strict=True))
            beaten = beaten or (worse == 0 and better > 0)
        if not beaten:
            expected.append(i)
    assert front(points) == expected


@given(POINTS.filter(bool))
def test_the_front_is_there_holds_every_minimum_and_beats_the_rest(points: list[tuple[int, ...]]) -> None:
    found = front(points)
    assert found
    for axis in range(len(points[0])):
        assert min(p[axis] for p in points) in {points[i][axis] for i in found}
    assert all(any(dominates(points[i], p) for i in found) for n, p in enumerate(points) if n not in found)
    assert not any(dominates(points[i], points[j]) for i in found for j in found)


def test_equal_points_all_stay() -> None:
    assert front([(1.0, 2.0), (1.0, 2.0), (1.0, 3.0)]) == [0, 1]
