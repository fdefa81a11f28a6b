"""A scaling law: recovered where it is known, the same whatever the order and the unit, with honest intervals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.law.bootstrap import interval, resampled
from nanochat.law.fit import fit
from nanochat.law.heldout import held_out
from nanochat.law.hoffmann import Hoffmann
from tests.shared_texts import shared_scaling

GRID = np.array([(n, c / 6 / n) for c in (1e18, 1e19, 1e20) for n in np.geomspace(1e7, 1e9, 7)])
N, D = GRID.T
TRUTH = Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.28)


@pytest.mark.parametrize(("alpha", "beta"), [(0.31, 0.31), (0.34, 0.28), (0.5, 0.2)])
def test_a_surface_without_noise_is_recovered(alpha: float, beta: float) -> None:
    truth = Hoffmann(E=1.7, A=400.0, B=1200.0, alpha=alpha, beta=beta)
    found = fit(Hoffmann, {"n": N, "d": D}, truth.loss(N, D))
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(found.law, name) == pytest.approx(getattr(truth, name), rel=1e-6), name
    assert found.certificate.agree == 1.0 and found.certificate.bounds == () and found.certificate.moved > 0.01


def test_the_best_shape_for_a_compute_is_the_best() -> None:
    best = TRUTH.params(1e21)
    assert 6 * best * TRUTH.tokens(1e21) == pytest.approx(1e21)
    for other in (0.99 * best, 1.01 * best):
        assert TRUTH.loss(other, 1e21 / 6 / other) > TRUTH.best(1e21)
    assert TRUTH.params(1e22) / best == pytest.approx(10**TRUTH.exponent)


@given(st.randoms(use_true_random=False), st.floats(0.01, 100))
@settings(max_examples=6)
def test_neither_the_order_of_rows_nor_the_unit_of_loss_matters(order, unit: float) -> None:
    noise = np.random.default_rng(0).normal(size=len(N)) * 0.003
    loss = TRUTH.loss(N, D) * np.exp(noise)
    rows = list(range(len(N)))
    order.shuffle(rows)
    found, other = fit(Hoffmann, {"n": N, "d": D}, loss), fit(Hoffmann, {"n": N[rows], "d": D[rows]}, unit * loss[rows])
    assert other.law.alpha == pytest.approx(found.law.alpha, rel=1e-4)
    assert pytest.approx(unit * found.law.E, rel=1e-4) == other.law.E
    assert other.objective == pytest.approx(found.objective, rel=1e-6)


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = {"alpha": 0, "exponent": 0}
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=len(N)) * 0.004
        loss = TRUTH.loss(N, D) * np.exp(noise)
        clusters = [str(i) for i in range(len(N))]
        laws = resampled(
            {"n": N, "d": D},
            loss,
            clusters=clusters,
            near=fit(Hoffmann, {"n": N, "d": D}, loss).law,
            count=30,
            seed=seed,
        )
        for name in covered:
            low, high = interval(laws, lambda law, name=name: getattr(law, name))
            covered[name] += low <= getattr(TRUTH, name) <= high
    assert all(14 <= count <= 20 for count in covered.values()), covered


def test_rows_of_one_run_are_drawn_together() -> None:
    """Copies of a row say nothing new: the interval must not shrink."""
    loss = TRUTH.loss(N, D) * np.exp(np.random.default_rng(1).normal(size=len(N)) * 0.004)
    ids = [str(i) for i in range(len(N))]
    near = fit(Hoffmann, {"n": N, "d": D}, loss).law
    once = interval(resampled({"n": N, "d": D}, loss, clusters=ids, near=near, count=40, seed=0), lambda law: law.alpha)
    n, d, losses = (np.tile(x, 4) for x in (N, D, loss))
    many = interval(
        resampled({"n": n, "d": d}, losses, clusters=ids * 4, near=near, count=40, seed=0), lambda law: law.alpha
    )
    assert many == pytest.approx(once, rel=1e-3)


def test_the_largest_budgets_are_predicted_without_having_been_seen() -> None:
    inputs, loss = {"n": N, "d": D}, TRUTH.loss(N, D)
    found = held_out(Hoffmann, inputs, loss, compute=6 * N * D)
    assert [(cut.rows, round(cut.ratio)) for cut in found] == [(7, 10), (14, 100)]
    assert all(cut.error < 1e-6 and abs(cut.bias) <= cut.error for cut in found)
    assert held_out(Hoffmann, inputs, loss, compute=6 * N * D, enough=lambda kept: False) == []


def test_the_law_of_a_published_surface_without_noise() -> None:
    rows = json.loads(shared_scaling("cs336/isoflops_curves.json").read_text())
    n = np.array([float(row["parameters"]) for row in rows])
    d = np.array([row["compute_budget"] for row in rows]) / 6 / n
    found = fit(Hoffmann, {"n": n, "d": d}, np.array([row["final_loss"] for row in rows])).law
    assert found.params(1e24) == pytest.approx(3.0031e11, rel=1e-3)
    for name, value in {"E": 2.69, "A": 1606.4, "alpha": 0.34, "B": 3210.7, "beta": 0.36}.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-5), name


def test_the_law_of_the_extracted_chinchilla_points() -> None:
    """Besiroglu et al., 2404.10102: without the five highest losses."""
    path = shared_scaling("besiroglu/svg_extracted_data.csv")
    rows = sorted(csv.DictReader(path.open()), key=lambda row: float(row["loss"]))[:-5]
    n = np.array([float(row["Model Size"]) for row in rows])
    d = np.array([float(row["Training FLOP"]) for row in rows]) / 6 / n
    found = fit(Hoffmann, {"n": n, "d": d}, np.array([float(row["loss"]) for row in rows]))
    law = found.law
    assert (law.alpha, law.beta, law.E) == pytest.approx((0.34731, 0.36717, 1.81722), abs=5e-4)
    assert pytest.approx(477.83, rel=5e-3) == law.A and pytest.approx(2143.4, rel=1e-2) == law.B
    assert found.objective <= 1.018275e-3


def test_the_floor_may_lie_above_the_lowest_loss() -> None:
    """The lowest of many noisy losses is lower than its mean: held under it, α here would be .589."""
    rows = list(csv.DictReader(shared_scaling("porian/isoflop_points.csv").open()))
    rows = [row for row in rows if (row["hparams"], row["decay"]) == ("tuned", "const")]
    n, d, loss = (np.array([float(row[name]) for row in rows]) for name in ("N", "D", "loss"))
    found = fit(Hoffmann, {"n": n, "d": d}, loss)
    assert loss.min() < found.law.E and found.certificate.bounds == ()
    assert found.law.alpha == pytest.approx(0.6298, abs=5e-4) and found.objective <= 6.69325e-3


def table(path: Path, loss: np.ndarray, **columns: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["params", "tokens", "loss", *columns])
        writer.writerows(zip(N, D, loss, *columns.values(), strict=True))
    return path


def test_the_task_tells_a_law_and_where_it_comes_from(program, tmp_path: Path) -> None:
    status = ["complete"] * len(N)
    status[3] = "diverged"
    path = table(tmp_path / "runs.csv", TRUTH.loss(N, D), status=status)
    said = program("task=law", f"task.data={path}", f"task.out={tmp_path}/law.json", "task.resamples=40", base=())
    assert said.code == 0, said.err
    assert max(len(line) for line in said.out.splitlines() if not line.startswith("law: ")) <= 80
    assert "left out: 1 diverged" in said.out and "held out" in said.out
    told = json.loads((tmp_path / "law.json").read_text())
    assert told["law"]["alpha"] == pytest.approx(0.34, rel=1e-5)
    assert told["rows"] == {"used": len(N) - 1, "excluded": {"diverged": 1}}
    assert len(told["provenance"]["sha256"]) == 64 and told["provenance"]["packages"]["torch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.data=nowhere.csv"], "no such file"),
        (["task.data=runs.csv", "task.n=parms"], "did you mean 'params'"),
        (["task.data=few.csv"], "8 are the least"),
        (["task.data=line.csv"], "together"),
        (["task.data=one.csv"], "different numbers of parameters"),
    ],
)
def test_tables_that_hold_no_law_are_refused(program, tmp_path: Path, words: list[str], message: str) -> None:
    lines = {
        "runs.csv": zip(N, D, TRUTH.loss(N, D), strict=True),
        "few.csv": [(1e6, 1e8, 3.0), (1e7, 1e8, 2.5), (1e8, 1e9, float("nan"))],
        "line.csv": [(10**i, 20 * 10**i, 3.0 / i) for i in range(5, 15)],
        "one.csv": [(1e6, 10**i, 3.0) for i in range(5, 15)],
    }
    for name, rows in lines.items():
        text = "\n".join(",".join(map(str, row)) for row in rows)
        (tmp_path / name).write_text(f"params,tokens,loss\n{text}\n")
    said = program("task=law", *words, base=())
    assert said.code == 2 and message in said.err, said.err
    assert said.err.count("\n") == 1
