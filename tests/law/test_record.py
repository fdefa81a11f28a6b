"""The record of a law: whole, written and read again, the same as what it was made from, and refused where broken."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanochat.core.errors import SpecError
from nanochat.law.accuracy import Accuracy
from nanochat.law.annealing import Annealing
from nanochat.law.bands import shapes
from nanochat.law.checks import Finding
from nanochat.law.clark import Clark
from nanochat.law.compute import SIX, frontier, measured
from nanochat.law.compute_only import ComputeOnly
from nanochat.law.exponent import exponent
from nanochat.law.form import Law
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.kaplan import Kaplan
from nanochat.law.record import tell
from nanochat.law.recorded import read, read_all
from nanochat.law.repeated import Repeated
from nanochat.law.table import Points
from tests.law.known import EXACT, TRUTH, D, N, noisy

SIXFOLD = 6 * N * D
EXACT_COSTS = SIXFOLD * (1 + 3e3 / np.sqrt(N))
AT = 1e21

KEYS = [
    "schema", "form", "definitions", "options", "rows", "excluded", "law", "laws", "interval", "objective",
    "certificate", "told", "at", "answers", "compute", "frontier", "approaches", "bias", "disagree", "held_out",
    "sensitivity", "influences", "findings", "provenance",
]  # fmt: skip


def points(loss: np.ndarray, **changes: Any) -> Points:
    each = Points(N, D, loss, [str(i) for i in range(len(N))], {"diverged": 1}, SIXFOLD)
    return replace(each, **changes)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return tell(points(noisy(0)), at=AT, resamples=60)


def written(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data, allow_nan=False))
    return path


def test_a_record_is_whole_and_plain(record: dict[str, Any]) -> None:
    assert sorted(record) == sorted(KEYS)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert len(record["rows"]) == 21 and [row["level"] for row in record["rows"]] == [0] * 7 + [1] * 7 + [2] * 7
    for row in record["rows"]:
        assert row["residual"] == pytest.approx(math.log(row["loss"] / row["predicted"]))
    assert list(record["told"]) == ["E", "alpha", "beta", "a"] and record["excluded"] == {"diverged": 1}
    assert [(one["name"], one["method"]) for one in record["approaches"]] == [
        ("approach 1", "envelope"), ("approach 2", "akima"), ("approach 2", "parabola"), ("approach 3", "fit"),
    ]  # fmt: skip
    assert [len(one["minima"]) for one in record["approaches"][1:3]] == [3, 3]
    assert record["approaches"][-1]["a"]["value"] == pytest.approx(record["told"]["a"]["value"])
    assert len(record["sensitivity"]) >= 8 and len(record["influences"]) == 21 and record["certificate"]["ridge"] == []
    assert [cut["rows"] for cut in record["held_out"]] == [7]
    assert record["interval"]["clusters"] == 21
    assert {Finding(**finding).severity for finding in record["findings"]} <= {"warn"}


def test_its_numbers_are_those_of_the_law(record: dict[str, Any]) -> None:
    law = Hoffmann(**record["law"])
    told, last = record["answers"], record["frontier"][-1]
    assert told["params"]["value"] == last["params"] == pytest.approx(law.params(AT))
    assert (last["loss_low"], last["loss_high"]) == (told["loss"]["low"], told["loss"]["high"])
    assert told["tokens_per_param"]["value"] == pytest.approx(law.tokens(AT) / law.params(AT))
    for name, true in (("params", TRUTH.params(AT)), ("tokens", TRUTH.tokens(AT)), ("loss", TRUTH.best(AT))):
        assert told[name]["low"] < true < told[name]["high"], name
        assert told[name]["profile"][0] < true < told[name]["profile"][1], name
    fewest = told["tokens"]["profile"][0] / told["params"]["profile"][1]
    assert told["tokens_per_param"]["profile"][0] == pytest.approx(fewest), "at one compute all follow from one"
    for name in ("E", "alpha", "beta"):
        assert record["told"][name]["profile"][0] < getattr(TRUTH, name) < record["told"][name]["profile"][1]
    assert record["frontier"][0]["c"] == pytest.approx(1e18) and last["c"] == pytest.approx(AT)


def test_a_record_read_again_predicts_the_same(record: dict[str, Any], tmp_path: Path) -> None:
    again = read(written(tmp_path / "law.json", record))
    assert asdict(again.law) == record["law"] and again.compute == SIX and again.at == AT
    assert [list(asdict(law).values()) for law in again.laws] == record["laws"]
    for name in ("loss", "params"):
        answer = {key: value for key, value in record["answers"][name].items() if key != "profile"}
        assert asdict(getattr(again.best(AT), name)) == answer
    here = again.predict(N[0], D[0])
    assert here.value == pytest.approx(record["rows"][0]["predicted"]) and here.low < here.value < here.high
    assert again.column("loss").tolist() == [row["loss"] for row in record["rows"]]


def test_measured_costs_move_the_best_shape() -> None:
    told = tell(points(EXACT, c=EXACT_COSTS, measured=True), at=AT, resamples=40, compute="measured")
    cost = measured(N, EXACT_COSTS, D)
    best = frontier(TRUTH, cost, AT)
    assert told["answers"]["params"]["value"] == pytest.approx(best.params, rel=1e-4)
    assert told["answers"]["params"]["value"] != pytest.approx(TRUTH.params(AT), rel=1e-3)
    assert told["definitions"]["c"].startswith("measured") and told["compute"]["residual"] == cost.residual
    low, high = told["told"]["a"]["profile"]
    assert low < told["told"]["a"]["value"] < high
    assert any(row["choice"].endswith("C = measured") for row in told["sensitivity"])


@pytest.mark.parametrize("law", [TRUTH, Kaplan(Nc=8.8e13, Dc=5.4e13, alpha_n=0.076, alpha_d=0.095)])
@pytest.mark.parametrize("exact", [False, True])
def test_bands_and_exponents_are_those_of_one_law_after_another(law: Law, exact: bool) -> None:
    cost = measured(N, EXACT_COSTS, D) if exact else SIX
    levels = np.array([1e19, 1e19 * 10**0.5, 1e20])
    found = shapes([law, law], cost, levels)
    one = [frontier(law, cost, c) for c in levels.tolist()]  # pyright: ignore[reportArgumentType]
    for name in ("params", "tokens", "loss"):
        assert getattr(found, name)[1] == pytest.approx([getattr(best, name) for best in one], rel=1e-5), name
    slope = math.log10(one[2].params / one[0].params)
    assert exponent(law, cost, float(levels[1])) == pytest.approx(slope, abs=1e-5)


def other(form: Law, **inputs: np.ndarray) -> Points:
    loss = np.asarray(form.loss(*inputs.values()))
    nan = np.full(len(loss), np.nan)
    columns = {"n": nan, "d": nan, "c": nan, **{k: v for k, v in inputs.items() if k in ("n", "d", "c")}}
    further = {name: column for name, column in inputs.items() if name not in columns}
    return Points(**columns, loss=loss, clusters=[str(i) for i in range(len(loss))], excluded={}, inputs=further)


UNIQUE = D / np.resize([1, 4, 40], 21)
SIZES, EXPERTS = np.resize(np.geomspace(1e7, 1e9, 6), 36), np.repeat([1.0, 2, 8, 32, 128, 512], 6)
STEPS = np.geomspace(1, 100, 24)
OTHERS: list[tuple[Law, dict[str, np.ndarray]]] = [
    (Repeated(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.28, R=12.0), {"n": N, "d": D, "unique": UNIQUE}),
    (Annealing(L0=2.0, A=0.5, C=0.3, alpha=0.4), {"s1": STEPS, "s2": np.resize([0.0, 0.1, 0.4], 24)}),
    (Clark(d=2.5, a=-0.08, b=-0.1, c=0.004, E_start=2.0, E_max=200.0), {"n": SIZES, "experts": EXPERTS}),
    (ComputeOnly(E=1.8, A=30.0, gamma=0.08), {"c": np.geomspace(1e16, 1e20, 16)}),
    (Accuracy(height=0.6, floor=0.25, slope=5.0, middle=0.9), {"bpb": np.linspace(0.4, 1.6, 20)}),
]  # fmt: skip


@pytest.mark.parametrize(("law", "inputs"), OTHERS)
def test_forms_without_a_best_shape_have_empty_parts(law: Law, inputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    record = tell(other(law, **inputs), form=type(law), resamples=40)
    assert sorted(record) == sorted(KEYS)
    assert not any(record[name] for name in ("frontier", "approaches", "disagree", "sensitivity", "influences"))
    assert record["bias"] is None and (record["answers"] == {}) is not isinstance(law, ComputeOnly)
    again = read(written(tmp_path / "law.json", record))
    place = [float(column[3]) for column in inputs.values()]
    assert again.predict(*place).value == pytest.approx(float(law.loss(*place)), rel=1e-5)
    with pytest.raises(SpecError, match="has no best shape"):
        again.best(1e20)


def test_what_holds_no_law_is_refused() -> None:
    with pytest.raises(SpecError, match="8 are the least"):
        tell(Points(N[:5], D[:5], EXACT[:5], list("abcde"), {}, SIXFOLD[:5]))
    with pytest.raises(SpecError, match="has 3 rows that count, and compute alone has 3 numbers"):
        tell(other(ComputeOnly(E=1.8, A=30.0, gamma=0.08), c=np.geomspace(1e16, 1e20, 3)), form=ComputeOnly)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "has schema 2, and this version reads 1"),
        ({"schema": None}, "is no record of a law"),
        ({"law": {}}, "is no whole record of a law: it has no 'E'"),
        ({"laws": []}, "no laws of runs drawn again"),
        ({"laws": [["1", 2, 3, 4, 5]]}, "'1' is no number"),
        ({"laws": [[1, 2]]}, "is no whole record"),
        ({"form": {"title": "gravity", "parameters": []}}, "its form is not known"),
        ({"form": {"title": "Hoffmann", "parameters": ["A"]}}, "the numbers of Hoffmann are"),
        ({"compute": 6}, "is no whole record"),
        ({"arms": {}}, "has no arm yet"),
    ],
)
def test_a_broken_record_is_refused_in_a_line(record: dict[str, Any], tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(SpecError) as error:
        read(written(tmp_path / "law.json", {**record, **change}))
    assert said in str(error.value) and str(error.value).startswith("task.law=") and "\n" not in str(error.value)


def test_what_is_no_file_of_json_is_refused(tmp_path: Path) -> None:
    for content in (b"{", b"\x89PNG\xff", b"[1]"):
        (tmp_path / "law.json").write_bytes(content)
        with pytest.raises(SpecError, match="is no"):
            read(tmp_path / "law.json")
    with pytest.raises(SpecError, match="no such file"):
        read(tmp_path / "none.json")


def test_records_of_arms(record: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path / "law.json", {"schema": 1, "arms": {"gqa": record, "mla": record}})
    assert list(read_all(path)) == ["gqa", "mla"]
    with pytest.raises(SpecError, match=r"task\.arm"):
        read(path)
