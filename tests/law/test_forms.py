"""Every form of law: recovered where it is known, with the derivatives that it says it has."""

from __future__ import annotations

import itertools
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from nanochat.law.accuracy import Accuracy
from nanochat.law.annealing import Annealing, areas
from nanochat.law.clark import Clark
from nanochat.law.compute_only import ComputeOnly
from nanochat.law.fit import Options, fit, refit
from nanochat.law.form import Law, predict
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.kaplan import Kaplan
from nanochat.law.repeated import Repeated
from tests.law.known import D, N

STEPS = np.arange(1, 4001)


def cooled(start: int) -> np.ndarray:
    """A constant rate that falls to nothing from `start` on."""
    return 1e-3 * np.clip((len(STEPS) - STEPS) / (len(STEPS) - start), 0, 1)


def schedules() -> dict[str, np.ndarray]:
    every = [np.stack(areas(cooled(start)))[:, 200::200] for start in (1500, 2500, 3500)]
    s1, s2 = np.concatenate(every, axis=1)
    return {"s1": s1, "s2": s2}


EXPERTS = np.array(list(itertools.product(np.geomspace(1.5e7, 1.3e9, 6), (1, 2, 4, 8, 32, 64, 128, 256, 512)))).T
REPEATED = np.array(list(itertools.product((1e7, 1e8, 1e9), (1e9, 4e9), (1, 2, 4, 16, 44, 100)))).T

KNOWN: list[tuple[Law, dict[str, np.ndarray]]] = [
    (Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.28), {"n": N, "d": D}),
    (Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=0.31, beta=0.31), {"n": N, "d": D}),
    (Hoffmann(E=2.0, A=9000.0, B=50.0, alpha=0.5, beta=0.2), {"n": N, "d": D}),
    (Kaplan(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103), {"n": N, "d": D}),
    (
        Repeated(E=1.87, A=521.0, B=1488.0, alpha=0.353, beta=0.353, R=15.4),
        {"n": REPEATED[0], "d": REPEATED[1] * REPEATED[2], "unique": REPEATED[1]},
    ),
    (Annealing(L0=2.65, A=0.51, C=0.42, alpha=0.53), schedules()),
    (
        Clark(d=1.104, a=-0.082, b=-0.108, c=0.009, E_start=1.85, E_max=314.5),
        {"n": EXPERTS[0], "experts": EXPERTS[1]},
    ),
    (ComputeOnly(E=1.8, A=2000.0, gamma=0.16), {"c": np.geomspace(1e18, 1e22, 9)}),
    (Accuracy(height=0.7, floor=0.25, slope=6.0, middle=0.8), {"bpb": np.linspace(0.5, 1.3, 12)}),
]
NAMES = [f"{type(law).__name__}{i}" for i, (law, _) in enumerate(KNOWN)]


def told(law: Law, inputs: dict[str, np.ndarray]) -> Any:
    return law.loss(*(inputs[name] for name in law.inputs))


@pytest.mark.parametrize("on", ["log", "raw"])
@pytest.mark.parametrize(("truth", "inputs"), KNOWN, ids=NAMES)
def test_a_surface_without_noise_is_recovered(truth: Law, inputs: dict[str, np.ndarray], on: Any) -> None:
    found = fit(type(truth), inputs, told(truth, inputs), options=Options(on=on))
    assert astuple(found.law) == pytest.approx(astuple(truth), rel=1e-6)
    sure = found.certificate
    assert sure.agree >= 0.5 and sure.bounds == () and sure.moved > 0.01 and np.isfinite(sure.condition)


@pytest.mark.parametrize(("truth", "inputs"), KNOWN, ids=NAMES)
def test_coordinates_are_the_law_s_own(truth: Law, inputs: dict[str, np.ndarray]) -> None:
    y = told(truth, inputs)
    frame = truth.frame(inputs, y)
    point = truth.point(frame)
    assert astuple(type(truth).at(point, frame)) == pytest.approx(astuple(truth), rel=1e-12)
    log, _ = predict(type(truth), frame, point)
    np.testing.assert_allclose(frame.scale * np.exp(log), y, rtol=1e-12)
    low, high = type(truth).bounds(frame, y / frame.scale).T
    assert ((low <= point) & (point <= high)).all() and len(point) == len(truth.names())


@pytest.mark.parametrize(("truth", "inputs"), KNOWN, ids=NAMES)
def test_derivatives_are_those_of_the_predictions(truth: Law, inputs: dict[str, np.ndarray]) -> None:
    """At three points at once, none of them the truth."""
    form, frame = type(truth), truth.frame(inputs, told(truth, inputs))
    points = truth.point(frame) * np.array([[0.97], [1.0], [1.04]])
    _, jacobian = predict(form, frame, points)
    for i in range(points.shape[1]):
        step = np.zeros(points.shape)
        step[:, i] = 1e-6 * np.maximum(np.abs(points[:, i]), 1e-2)
        ahead, behind = predict(form, frame, points + step)[0], predict(form, frame, points - step)[0]
        slope = (ahead - behind) / (2 * step[:, i, None])
        np.testing.assert_allclose(jacobian[..., i], slope, rtol=1e-5, atol=1e-7, err_msg=truth.names()[i])


@pytest.mark.parametrize(("truth", "inputs"), KNOWN, ids=NAMES)
def test_a_refit_begins_at_a_law_nearby(truth: Law, inputs: dict[str, np.ndarray]) -> None:
    last = truth.names()[-1]
    near = replace(truth, **{last: 1.1 * getattr(truth, last)})
    assert astuple(refit(inputs, told(truth, inputs), near=near)) == pytest.approx(astuple(truth), rel=1e-6)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="reads d"):
        fit(Hoffmann, {"n": N}, N)


@pytest.mark.parametrize("y", [0 * D, -D, np.nan * D, np.inf * D])
def test_losses_that_no_law_has_are_refused(y: np.ndarray) -> None:
    with pytest.raises(ValueError, match="above zero"):
        fit(Hoffmann, {"n": N, "d": D}, y)


def test_the_annealing_area_is_the_double_sum() -> None:
    rates = 1e-3 * np.array([1, 1, 0.8, 0.5, 0.5, 0.1])
    s1, s2 = areas(rates, memory=0.9)
    drops = [0.0, *(rates[:-1] - rates[1:])]
    double = [sum(drops[k] * 0.9 ** (j - k) for j in range(i + 1) for k in range(j + 1)) for i in range(len(rates))]
    np.testing.assert_allclose(s2, double, atol=1e-18)
    np.testing.assert_allclose(s1, np.cumsum(rates))
    assert areas(np.ones(5))[1].tolist() == [0.0] * 5


def test_new_tokens_are_worth_themselves_and_repeated_ones_less_and_less() -> None:
    law = Repeated(E=1.87, A=521.0, B=1488.0, alpha=0.353, beta=0.353, R=15.4)
    assert law.worth(1e9, 1e9) == law.worth(1e9, 5e9) == 1e9
    assert 3.5e9 < law.worth(4e9, 1e9) < 4e9
    assert law.worth(1e13, 1e9) == pytest.approx(16.4e9)


def test_experts_saturate_between_their_bounds() -> None:
    law = Clark(d=1.104, a=-0.082, b=-0.108, c=0.009, E_start=1.85, E_max=314.5)
    assert law.effective(1) == pytest.approx(1.85) and law.effective(1e9) == pytest.approx(314.5, rel=1e-4)
