"""Approaches 1 and 2 beside the fit: published exponents, the parabola's bias, and refusals that are told."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from nanochat.law import envelope, isoflop
from nanochat.law.approaches import bias, compare
from nanochat.law.bootstrap import resampled
from nanochat.law.compute import SIX, frontier, measured
from nanochat.law.fit import fit
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.isoflop import approach_2, budgets
from tests.shared_texts import shared_scaling

TRUTH = Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.28)


def about(law: Hoffmann, *, c: list[float], span: float, sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and tokens evenly about each budget's best."""
    rows = [(law.params(x) * f, x) for x in c for f in np.geomspace(1 / span, span, sizes)]
    n, compute = np.array(rows).T
    return n, compute / 6 / n


C = [1e18, 1e19, 1e20, 1e21]
N, D = about(TRUTH, c=C, span=8, sizes=9)
LOSS = np.asarray(TRUTH.loss(N, D))
NOISE = np.exp(0.004 * np.random.default_rng(0).normal(size=len(N)))


def test_budgets_are_told_apart_by_gaps() -> None:
    c = np.array([1e18, 3.01e18, 1.01e18, 3e18, 0.99e18])
    assert [np.flatnonzero(rows).tolist() for rows in budgets(c)] == [[0, 2, 4], [1, 3]]
    assert len(budgets(c, tolerance=2.0)) == 1


@pytest.mark.parametrize(("hparams", "exponent"), [("tuned", 0.497), ("base", 0.571)])
def test_published_exponents_by_akima(hparams: str, exponent: float) -> None:
    """Porian et al., 2406.19146: with tuned rates, and with a cosine for each run."""
    with shared_scaling("porian/isoflop_points.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["hparams"] == hparams]
    n, c, loss = (np.array([float(row[name]) for row in rows]) for name in ("N", "flops", "loss"))
    found = approach_2(n, c, loss)
    assert found.exponent == pytest.approx(exponent, abs=0.010) and found.refused == ()
    drawn = isoflop.drawn(n, c, loss, clusters=range(len(n)), count=40, seed=0)
    low, high = np.quantile([one.exponent for one in drawn if one.exponent], [0.025, 0.975])
    assert low < exponent < high and high - low < 0.1


@pytest.mark.parametrize("method", ["akima", "parabola"])
def test_a_published_surface_without_noise_by_budgets(method: isoflop.Method) -> None:
    rows = json.loads(shared_scaling("cs336/isoflops_curves.json").read_text())
    n, c, loss = (np.array([float(r[k]) for r in rows]) for k in ("parameters", "compute_budget", "final_loss"))
    found = approach_2(n, c, loss, method=method)
    assert found.exponent == pytest.approx(0.36 / 0.70, abs=1e-3) and len(found.minima) == 9
    assert found.params is not None
    assert found.params.at(1e24) == pytest.approx(3.0031e11, rel=0.02)


def test_a_parabola_is_biased_without_noise_and_akima_is_not() -> None:
    """The reference: D* 23% too low at α .465, β .155 and a grid of ±16 times."""
    law = Hoffmann(E=1.69, A=406.4, B=410.7, alpha=0.465, beta=0.155)
    n, d = about(law, c=C, span=16, sizes=15)
    parabola, akima = (bias(n, d, law=law, at=1e23, method=method) for method in ("parabola", "akima"))
    assert parabola.tokens == pytest.approx(-0.23, abs=0.005) and parabola.exponent == pytest.approx(0, abs=1e-6)
    assert akima.tokens == pytest.approx(0, abs=0.02)


def test_copies_of_a_size_count_by_their_mean() -> None:
    n, c, loss = np.append(N, N[4]), np.append(6 * N * D, 1e18), np.append(LOSS, LOSS[4] + 0.02)
    twice = approach_2(n, c, loss).minima[0]
    shifted = LOSS.copy()
    shifted[4] += 0.01
    assert twice.params == pytest.approx(approach_2(N, 6 * N * D, shifted).minima[0].params)


def test_weights_move_the_line() -> None:
    loss, c = LOSS * NOISE, 6 * N * D
    even = approach_2(N, c, loss).exponent
    ends = approach_2(N, c, loss, weigh=lambda m: 1e6 if m.compute > 5e19 else 1.0)
    assert ends.params is not None and ends.exponent != pytest.approx(even, abs=1e-4)
    for minimum in ends.minima[2:]:
        assert ends.params.at(minimum.compute) == pytest.approx(minimum.params, rel=1e-3)


def budget(n: np.ndarray, loss: np.ndarray, method: isoflop.Method) -> str:
    found = approach_2(n, np.full(len(n), 1e18), loss, method=method)
    assert found.params is None and found.exponent is None and len(found.refused) == 1
    return found.refused[0].reason


def test_budgets_that_say_nothing_are_refused_with_the_reason() -> None:
    n, x = np.geomspace(1e6, 1e8, 7), np.linspace(-1, 1, 7)
    assert budget(n[:3], 2 + x[2:5] ** 2, "akima") == "few sizes"
    assert budget(n, 3 - x**2, "parabola") == "upside down"
    assert budget(n, 2 + (x - 2) ** 2, "akima") == "edge"
    assert budget(n, 2 + (x - 2) ** 2, "parabola") == "edge"
    spread = approach_2(n, 1e18 * 1.029 ** np.arange(7), 2 + x**2)
    assert [one.reason for one in spread.refused] == ["scattered"]


def test_the_envelope_of_curves_finds_the_exponent() -> None:
    sizes = np.geomspace(1e7, 3e10, 40)
    n, d = (part.ravel() for part in np.meshgrid(sizes, np.geomspace(1e8, 1e13, 60)))
    found = envelope.approach_1(n, d, np.asarray(TRUTH.loss(n, d)))
    assert found.exponent == pytest.approx(TRUTH.exponent, abs=0.01) and 0 < found.edge < 0.8
    assert found.params_line is not None
    assert found.params_line.at(1e20) == pytest.approx(TRUTH.params(1e20), rel=0.1)
    assert found.params.min() > sizes[0] and found.params.max() < sizes[-1]


def test_an_envelope_of_two_sizes_has_no_line() -> None:
    n, d = np.repeat([1e7, 1e8], 5), np.tile(np.geomspace(1e8, 1e10, 5), 2)
    assert envelope.approach_1(n, d, np.asarray(TRUTH.loss(n, d))).exponent is None


def per_token(n: np.ndarray) -> np.ndarray:
    """6N, and attention that costs the less of it the larger the model."""
    return 6 * n * (1 + 0.4 * (n / 1e7) ** -0.33)


def test_the_best_shape_under_a_measured_cost() -> None:
    n = np.geomspace(1e7, 1e9, 7)
    compute = measured(n, per_token(n) * 20 * n, 20 * n)
    assert compute.residual < 0.002
    best = frontier(TRUTH, compute, 1e20)
    assert best.tokens < 0.95 * TRUTH.tokens(1e20) and best.loss > TRUTH.best(1e20)
    assert float(compute.per_token(best.params)) * best.tokens == pytest.approx(1e20)
    for other in (0.9 * best.params, 1.1 * best.params):
        assert TRUTH.loss(other, 1e20 / float(compute.per_token(other))) > best.loss
    far = np.array([1e6, 1e13, 1e14])
    slopes = np.diff(np.log(np.asarray(compute.per_token(far)))) / np.diff(np.log(far))
    assert np.all(slopes > 0.8) and np.all(slopes < 1.1)


def test_the_search_agrees_with_the_closed_form() -> None:
    class Other:
        loss = staticmethod(TRUTH.loss)

    found, exact = frontier(Other(), SIX, 1e22), frontier(TRUTH, SIX, 1e22)
    assert found.params == pytest.approx(exact.params, rel=1e-5) and found.loss == pytest.approx(exact.loss, rel=1e-12)
    assert exact.tokens_per_param == pytest.approx(TRUTH.tokens(1e22) / TRUTH.params(1e22))


def test_a_law_without_a_best_size_is_refused() -> None:
    class Larger:
        def loss(self, n, d):
            return 1 / n

    with pytest.raises(ValueError, match="no best size"):
        frontier(Larger(), SIX, 1e20)


def test_costs_that_do_not_grow_are_refused() -> None:
    n = np.geomspace(1e7, 1e9, 5)
    with pytest.raises(ValueError, match="does not grow"):
        measured(n, 1e17 / n, np.full(5, 1e9))


def test_the_three_stand_side_by_side() -> None:
    loss, ids = LOSS * NOISE, list(range(len(N)))
    law = fit(Hoffmann, {"n": N, "d": D}, loss).law
    laws = resampled({"n": N, "d": D}, loss, clusters=ids, near=law, count=60, seed=0)
    found = compare(N, D, loss, at=1e22, law=law, laws=laws, clusters=ids, count=40, seed=0)
    names = [one.name for one in found.approaches]
    assert names == ["approach 1", "approach 2, akima", "approach 2, parabola", "approach 3"]
    fitted = found.approaches[-1]
    assert fitted.exponent is not None and fitted.params is not None and fitted.tokens is not None
    assert fitted.exponent.value == pytest.approx(law.exponent) and fitted.params.value == pytest.approx(
        law.params(1e22)
    )
    assert fitted.exponent.low < TRUTH.exponent < fitted.exponent.high
    # Final points of budgets are no curves; approach 1 says so or has a line.
    assert found.approaches[0].exponent or found.approaches[0].missing
    assert found.disagree == ()
    assert found.bias["parabola"].tokens is not None and math.isfinite(found.bias["parabola"].tokens)


def test_methods_that_cannot_both_be_right_are_named() -> None:
    """Losses by a law in which another exponent holds at each budget's best than over the whole table."""
    best = np.repeat([TRUTH.params(c) for c in C], 9)
    tilt = (6 * N * D / 1e18) ** 0.12
    wrong = 2 * (6 * N * D / 1e18) ** -0.05 * (1 + 0.02 * np.log(N / best / tilt) ** 2)
    law = fit(Hoffmann, {"n": N, "d": D}, LOSS).law
    found = compare(N, D, wrong, at=1e22, law=law, laws=[law] * 30, clusters=range(len(N)), count=30, seed=0)
    assert "approach 2, akima" in found.disagree


def test_sizes_that_hardly_differ_count_as_one() -> None:
    """Read off a figure the same size comes out 1e-6 apart: an interpolation through both has no bottom."""
    n, c = np.concatenate([N, N[:9] * (1 + 1e-6)]), np.concatenate([6 * N * D, 6 * N[:9] * D[:9]])
    loss = np.concatenate([LOSS * NOISE, LOSS[:9] * NOISE[9:18]])
    found = isoflop.minimum(n[c < 3e18], c[c < 3e18], loss[c < 3e18], method="akima")
    assert isinstance(found, isoflop.Minimum)
    assert found.loss == pytest.approx(TRUTH.best(1e18), rel=0.01)
    assert found.params == pytest.approx(TRUTH.params(1e18), rel=1)
