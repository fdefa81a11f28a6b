"""What is drawn of a run's rows: averages, bands, ticks, fields in which runs differ."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.core.errors import SpecError
from nanochat.core.spec import dump
from nanochat.report.curves import Curve, averaged, differing, panels, series
from nanochat.report.curves_terminal import brief, panel, powers, ticks, view
from tests.runs import small


def curve(rows: list[dict], *, run: dict | None = None, status: str = "complete", label: str = "one") -> Curve:
    return Curve(key=label * 4, label=label, status=status, reason="", rows=rows, run=run or {})


ROWS = [
    {"step": i, "tokens": 256 * i, "seconds": i / 2, "train_loss": 6 / i, "grad_norm": 1e-3**i, "lr": 0.1}
    for i in range(1, 9)
]  # fmt: skip


def test_the_average_is_that_of_its_definition():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    expected = []
    for n in range(1, 6):
        weights = [0.7 ** (n - 1 - i) for i in range(n)]
        expected.append(sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights))
    assert averaged(values, 0.7) == pytest.approx(expected)
    assert averaged(values, 0.0) == values


def test_the_training_loss_is_smoothed_and_says_so():
    raw, line, valid = series("loss", curve(ROWS), x="tokens", smooth=0.5)
    assert raw.y == [row["train_loss"] for row in ROWS] and line.y == averaged(raw.y, 0.5) and valid.y == []
    assert "averaged (0.5)" in line.name
    [line, _] = series("loss", curve(ROWS), x="steps", smooth=0)
    assert (line.name, line.x, line.y) == ("train", list(range(1, 9)), raw.y)


def test_what_is_no_number_is_left_out():
    rows = [{**ROWS[0], "train_loss": math.nan}, ROWS[1], {**ROWS[2], "train_loss": None}, ROWS[3]]
    [line, _] = series("loss", curve(rows), x="seconds", smooth=0)
    assert (line.x, line.y) == ([1.0, 2.0], [3.0, 1.5])


def test_the_band_of_the_logits_is_one_standard_deviation_to_each_side():
    row = {"tokens": 1, "logit_mean": -2.0, "logit_sd": 3.0, "logit_max": 9.0}
    found = {part.name: part.y for part in series("logits", curve([row]), x="tokens", smooth=0.5)}
    assert found == {"mean − sd": [-5.0], "mean + sd": [1.0], "mean": [-2.0], "largest": [9.0]}


def test_columns_of_one_group_share_a_panel():
    shares = {f"expert_share.0.{i}": i / 28 for i in range(8)}
    one = curve([{**ROWS[0], **shares, "router_entropy": 1.0}])
    assert panels(["lr", "parts"], [one]) == ["lr", "expert_share", "router_entropy"]
    low, high, mean = series("expert_share", one, x="tokens", smooth=0)
    assert (low.y, high.y, mean.y) == ([0.0], [0.25], [0.125])
    [only] = series("expert_share.0.3", one, x="tokens", smooth=0)
    assert only.y == [3 / 28]
    with pytest.raises(SpecError, match=r"task\.panels=router_entrop: .*did you mean 'router_entropy'"):
        panels(["router_entrop"], [one])


def test_flops_are_those_of_the_run(tmp_path):
    spec, _ = small(tmp_path)
    one = curve(ROWS, run=dump(spec))
    [line] = series("lr", one, x="flops", smooth=0)
    assert line.x[-1] == ROWS[-1]["tokens"] * spec.training_cost.flops == spec.tokens * spec.training_cost.flops
    assert one.total == spec.tokens
    with pytest.raises(SpecError, match=r"task\.x=flops: .* use task\.x=tokens"):
        series("lr", curve(ROWS, run={"model": "of old"}), x="flops", smooth=0)


def test_runs_are_told_apart_by_the_fields_in_which_they_differ(tmp_path):
    runs = [dump(small(tmp_path, *words)[0]) for words in ((), ("lr.peak=0.02",), ("ffn=moe", "seed=7"))]
    found = differing([curve(ROWS, run=run) for run in runs])
    assert found["ffn"] == ["swiglu", "swiglu", "moe"] and found["lr.peak"][1] == "0.02" and found["seed"][2] == "7"
    assert not any(key.startswith("ffn.") for key in found), "an option's own fields are no difference"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 8))
def test_ticks_lie_on_the_axis(low, size, count):
    high = low + size
    found = ticks(low, high, count=count)
    assert len(found) <= count + 1
    assert all(low - 1e-6 * size <= tick <= high + 1e-6 * size for tick in found)


def test_round_ticks():
    assert ticks(0, 30720, count=3) == [0, 20000]
    assert ticks(0, 30720, count=6) == pytest.approx([0, 10000, 20000, 30000])
    assert [10**p for p in powers(-0.4, 0.8)] == pytest.approx([0.5, 1, 2, 5])
    assert powers(-3.5, 2.2) == [-3, -2, -1, 0, 1, 2]
    assert [brief(v) for v in (0.003, 12.0, 1500, 30720, 2e6, 3e15)] == ["0.003", "12", "1.5k", "30.72k", "2M", "3e+15"]


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS])
@pytest.mark.parametrize("name", ["loss", "grad_norm", "lr", "logits"])
def test_a_panel_has_its_size_whatever_is_in_it(name, rows):
    text = panel(name, [curve(rows)], x="tokens", smooth=0.6, width=40, height=9).plain
    lines = text.rstrip("\n").split("\n")
    assert max(map(len, lines)) <= 40 and len(lines) <= 9
    assert ("nothing yet" in text) == (not rows or name == "logits")
    if rows and name != "logits":
        assert any("⠀" < sign <= "⣿" for sign in text), "a line is drawn"


def test_many_runs_are_listed_shortly(capsys):
    from rich.console import Console

    runs = [curve(ROWS, status="at work" if i == 14 else "complete", label=f"r{i:02}") for i in range(15)]
    Console(width=80, highlight=False).print(view(runs, wanted=["loss"], x="tokens", smooth=0, width=80, height=24))
    out = capsys.readouterr().out.splitlines()
    assert max(map(len, out)) <= 80 and len(out) <= 24
    assert sum(line.lstrip("●■▲◆▼★ ").startswith("r") and "complete" in line for line in out) == 9
    assert any("r14" in line and "at work" in line for line in out), "who is at work comes first"
    assert any("… and 5 more" in line for line in out)
