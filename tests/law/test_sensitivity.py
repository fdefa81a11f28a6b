"""How much of an answer is choice, and which runs it hangs on."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest

from nanochat.law.bootstrap import resampled
from nanochat.law.compute import SIX
from nanochat.law.fit import fit
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.sensitivity import DELTAS, Choice, influences, outliers, sensitivity
from tests.shared_texts import shared_scaling

TRUTH = Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.28)
N, D = np.array([(n, c / 6 / n) for c in (1e18, 1e19, 1e20) for n in np.geomspace(1e7, 1e9, 7)]).T
CLEAN = np.asarray(TRUTH.loss(N, D))
LOSS = CLEAN * np.exp(0.002 * np.random.default_rng(0).normal(size=len(N)))


def test_without_noise_no_choice_matters() -> None:
    rows = sensitivity({"all": N}, D, CLEAN, at=1e21)
    assert {(row.choice.on, row.choice.delta) for row in rows} == {(on, d) for on in ("log", "raw") for d in DELTAS}
    for row in rows:
        assert (row.alpha, row.beta, row.exponent) == pytest.approx((0.34, 0.28, TRUTH.exponent), abs=1e-4), row.choice
        assert row.params == pytest.approx(TRUTH.params(1e21), rel=1e-3)
        assert row.loss == pytest.approx(TRUTH.best(1e21), rel=1e-5)


def test_definitions_and_outliers_are_choices() -> None:
    spoilt = LOSS.copy()
    spoilt[4] *= 1.1
    assert np.flatnonzero(outliers(N, D, spoilt)).tolist() == [4]
    more = N + 5e4 * np.sqrt(N)
    rows = sensitivity({"body": N, "all": more}, D, spoilt, at=1e21, costs={"exact": replace(SIX, about=-0.1)})
    found = {row.choice: row for row in rows}
    assert len(found) == len(rows) == 4 * 2 * 2 * 3
    usual = Choice(1e-3, "log", True, "body", "6ND")
    # Least squares feel an outlier, least absolute residuals hardly.
    without = found[replace(usual, outliers=False)].alpha
    assert abs(found[replace(usual, delta=math.inf)].alpha - without) > 3 * abs(found[usual].alpha - without)
    assert found[replace(usual, n="all")].exponent != pytest.approx(found[usual].exponent, abs=0.01)
    exact = found[replace(usual, c="exact")]
    assert exact.alpha == found[usual].alpha and exact.params < found[usual].params


def test_the_extracted_points_of_chinchilla_by_choice() -> None:
    """The five highest losses are among the outliers, and β moves by more than .03 with the choice of loss."""
    with shared_scaling("besiroglu/svg_extracted_data.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["loss"]))
    n, c, loss = (np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss"))
    d = c / 6 / n
    assert outliers(n, d, loss)[-5:].sum() >= 4
    table = sensitivity({"all": n}, d, loss, at=5.76e23)
    betas = {row.choice: row.beta for row in table}
    assert max(betas.values()) - min(betas.values()) > 0.03


def test_the_run_that_moves_the_answer_is_named() -> None:
    spoilt = LOSS.copy()
    spoilt[-1] *= 1.02
    names = [f"run{i // 3}" for i in range(len(N))]
    law = fit(Hoffmann, {"n": N, "d": D}, spoilt).law
    laws = resampled({"n": N, "d": D}, spoilt, clusters=names, near=law, count=60, seed=0)
    found = influences(N, D, spoilt, law=law, laws=laws, clusters=names, at=1e21)
    assert len(found) == 7 and {one.cluster for one in found} == set(names)
    sizes = [max(abs(one.exponent), abs(one.params)) for one in found]
    assert sizes == sorted(sizes, reverse=True)
    # One of them, refitted from nothing.
    kept = np.array([name != found[0].cluster for name in names])
    other = fit(Hoffmann, {"n": N[kept], "d": D[kept]}, spoilt[kept]).law
    error = np.std([one.exponent for one in laws], ddof=1)
    assert found[0].exponent == pytest.approx((other.exponent - law.exponent) / error, abs=1e-3)
