"""Where two laws cross, and that they do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nanochat.law.bootstrap import resampled
from nanochat.law.compute import SIX
from nanochat.law.crossing import Arm, Crossing, crossing, same_draws
from nanochat.law.crossings import crossings
from nanochat.law.fit import fit
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.recorded import Record
from tests.law.known import INPUTS, TRUTH, D, N

# Falls more slowly from a lower level: better below some compute.
SLOWER = Hoffmann(E=1.7, A=160.0, B=500.0, alpha=0.29, beta=0.24)
WORSE = Hoffmann(E=1.75, A=400.0, B=1200.0, alpha=0.34, beta=0.28)
CLUSTERS = [str(i) for i in range(len(N))]


def arm(law: Hoffmann, *, noise: np.ndarray, seed: int = 0) -> Arm:
    loss = np.asarray(law.loss(N, D)) * np.exp(noise)
    found = fit(Hoffmann, INPUTS, loss).law
    return Arm(found, resampled(INPUTS, loss, clusters=CLUSTERS, near=found, count=60, seed=seed))


def noise(seed: int, *, size: float = 0.002) -> np.ndarray:
    return size * np.random.default_rng(seed).normal(size=len(N))


def between(a: Arm, b: Arm, *, at: float = 1e21, paired: bool = True) -> Crossing:
    return crossing(a, b, low=1e16, high=1e23, at=at, paired=paired)


def exact(a: Hoffmann, b: Hoffmann) -> float:
    levels = np.geomspace(1e16, 1e23, 20001)
    gap = np.array([a.best(c) - b.best(c) for c in levels.tolist()])
    places = np.flatnonzero(np.diff(np.sign(gap)))
    assert len(places) == 1
    return float(levels[places[0]])


def test_laws_that_cross_do_so_where_they_are_equal() -> None:
    true = exact(SLOWER, TRUTH)
    found = between(arm(SLOWER, noise=noise(4)), arm(TRUTH, noise=noise(5)), at=30 * true)
    assert found.compute is not None and found.compute.low < true < found.compute.high
    assert found.first == "A" and not found.more and found.share > 0.9 and found.wins < 0.1
    clean = between(arm(SLOWER, noise=0 * N), arm(TRUTH, noise=0 * N))
    assert clean.compute is not None and clean.compute.value == pytest.approx(true, rel=1e-2)
    # The other way round it is the same place.
    turned = between(arm(TRUTH, noise=0 * N), arm(SLOWER, noise=0 * N))
    assert turned.compute is not None and turned.compute.value == pytest.approx(clean.compute.value)
    assert turned.first == "B" and turned.wins == pytest.approx(1 - clean.wins)


def test_of_laws_that_cross_twice_the_last_crossing_is_told_with_who_is_better_below_it() -> None:
    a = Hoffmann(E=1.0, A=10.0, B=10.0, alpha=0.2, beta=0.2)
    b = Hoffmann(E=1.15, A=1.57e4, B=1.57e4, alpha=0.6, beta=0.6)
    assert a.best(1e16) < b.best(1e16) and a.best(1e20) > b.best(1e20) and a.best(1e23) < b.best(1e23)
    found = between(Arm(a, [a]), Arm(b, [b]))
    assert found.compute is not None and found.compute.value > 1e20
    assert found.more and found.first == "B"


def test_a_law_that_is_worse_throughout_never_crosses() -> None:
    found = between(arm(TRUTH, noise=noise(0, size=1e-4)), arm(WORSE, noise=noise(1, size=1e-4)))
    assert found.compute is None and found.share == 0 and found.first == "A" and found.wins == 1


def test_what_moves_both_arms_cancels_where_the_same_runs_are_drawn() -> None:
    shared = noise(2, size=0.004)
    a, b = arm(SLOWER, noise=shared), arm(TRUTH, noise=shared)
    other = arm(TRUTH, noise=shared, seed=1)
    widths = []
    for second in (b, other):
        found = between(a, second).compute
        assert found is not None
        widths.append(math.log(found.high / found.low))
    assert widths[0] < widths[1] / 2


def test_places_alike_make_draws_of_the_same_runs() -> None:
    places = list(zip(N.tolist(), D.tolist(), strict=True))
    assert same_draws(places, [(1.02 * n, d) for n, d in places])
    assert not same_draws(places, places[:-1]) and not same_draws(places, places[::-1])


def record(law: Hoffmann, rows: slice = slice(None)) -> Record:
    n, d = N[rows], D[rows]
    loss = np.asarray(law.loss(n, d)) * np.exp(noise(3)[rows])
    names = [f"{law.E} {i}" for i in range(len(n))]
    found = fit(Hoffmann, {"n": n, "d": d}, loss).law
    laws = resampled({"n": n, "d": d}, loss, clusters=names, near=found, count=40, seed=0)
    columns = {"n": n.tolist(), "d": d.tolist(), "c": (6 * n * d).tolist(), "cluster": names}
    data = {"rows": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
    return Record(found, tuple(laws), SIX, {}, 1e21, {**data, "interval": {"count": 40, "seed": 0}})


def test_the_crossings_of_records_are_plain_data() -> None:
    found = crossings({"slower": record(SLOWER), "usual": record(TRUTH), "few": record(WORSE, slice(0, 14))})
    assert [(one["a"], one["b"]) for one in found] == [("slower", "usual"), ("slower", "few"), ("usual", "few")]
    assert [one["paired"] for one in found] == [True, False, False]
    assert found[0]["compute"]["value"] == pytest.approx(exact(SLOWER, TRUTH), rel=1)
    assert found[2]["compute"] is None and found[0]["low"] == pytest.approx(1e18)
