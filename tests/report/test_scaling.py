"""What a scaling study's report says, against laws that are known."""

from __future__ import annotations

import io
import json
import random
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nanochat.core.artifact import read_json
from nanochat.core.compose import compose
from nanochat.law.compute import frontier, measured
from nanochat.law.recorded import read_all
from nanochat.report import law_words, scaling_words
from nanochat.report.frame import Frame, read_frame
from nanochat.report.notebook import LAW, PAGE, PICTURE, README
from nanochat.report.scaling import Scaling
from nanochat.report.write import write_report
from nanochat.run.spec import run_spec
from nanochat.study.definition import Definition, read_definition
from nanochat.study.design import alone
from nanochat.task.conclude import so_far
from tests.report.laws import LAWS, failed, noted, rows


@pytest.fixture(scope="module")
def notebook(made: Path) -> Path:
    return made / "experiments" / "made"


@pytest.fixture(scope="module")
def told(notebook: Path) -> Scaling:
    """Two arms whose laws cross, as the files have them."""
    found, data = Scaling(read_frame(notebook)), read_json(notebook / LAW)
    vars(found).update(told=data["arms"], crossings=data["crossings"], answers=data["answers"])
    return found


@pytest.fixture(scope="module")
def what(notebook: Path) -> Definition:
    return read_definition(notebook)


def said(*parts: object) -> str:
    """Shown at 80 columns."""
    console = Console(width=80, file=io.StringIO(), highlight=False)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_answer_is_that_of_the_law_behind_the_losses(told):
    for name, law in LAWS.items():
        n, f = (np.array([getattr(s, key) for s in told.sizes(name)], dtype=float) for key in ("params", "flops"))
        true = frontier(law, measured(n, f, n / n), told.target)
        record = told.records[name]
        assert record["answers"]["params"]["value"] == pytest.approx(true.params, rel=0.25)
        assert record["answers"]["loss"]["value"] == pytest.approx(true.loss, rel=0.01)
        shape = told.answers[name]
        assert shape["tokens"] % told.design.batch == 0
        assert shape["flops"] == pytest.approx(told.target, rel=0.01)
        assert shape["loss"]["value"] == pytest.approx(float(law.loss(shape["params"], shape["tokens"])), rel=0.02)
        assert shape["rate"] == pytest.approx(0.01, rel=0.2)


def test_the_command_of_an_answer_makes_its_shape(told):
    for shape in told.answers.values():
        program, file, *words = shlex.split(shape["command"])
        assert (program, file) == ("python", "run.py")
        run = run_spec(compose(words)).resolve()
        assert (run.cost.params, run.tokens, run.lr.peak) == (shape["params"], shape["tokens"], shape["rate"])


def test_laws_that_cross_are_told_to_cross(told):
    (found,) = told.crossings
    assert (
        found["first"] == "A"
        and found["wins"] < 0.05
        and told.design.level(0) < found["compute"]["value"] < told.target
    )
    sentence = scaling_words.verdict(told)[0]
    assert sentence.startswith("gqa is better below") and "mla above" in sentence
    assert "At the target mla is the better with a probability of" in sentence


def test_levels_and_costs_are_those_of_the_rows(told):
    for name in told.names:
        points = told.points(name)
        assert {row["level"] for row in told.records[name]["rows"]} == {0, 1, 2, 3}
        cells = {(size.name, k): mean for size in told.grid(name) for k, mean in size.cells.items()}
        assert sorted(cells.values()) == sorted(row["test_bpb"] for row in points)
        spent = told.spent[name]
        assert spent["saved"] == pytest.approx(sum(row["flops"] - row["flops_spent"] for row in points))
        assert spent["saved"] > 0 and spent["points"] == len(points)


def test_the_entropy_of_the_corpus_is_held_against_the_floor(told):
    E = told.records["mla"]["told"]["E"]
    sentence = law_words.covers(told.records["mla"], 1.0)
    for (low, high), how in (((E["low"], E["high"]), "runs drawn again"), (E["profile"], "profile")):
        held = (low is None or low <= 1.0) and (high is None or high >= 1.0)
        assert f"by {how} {'covers' if held else 'does not cover'} it" in sentence
    assert f"mla: t{sentence[1:]}" in scaling_words.verdict(told)
    assert "does not cover it" in law_words.covers(told.records["mla"], 0.1)
    open_below = {"told": {"E": {"value": 1.5, "low": 1.4, "high": 1.6, "profile": [None, 1.6]}}}
    assert law_words.covers(open_below, 1.2).endswith(
        "E is 1.5000: 1.4000 to 1.6000 by runs drawn again does not cover it; open to 1.6000 by profile covers it."
    )


def test_the_files_hold_what_a_report_of_a_law_must_state(told, notebook):
    assert set(read_all(notebook / LAW)) == set(LAWS)
    page, readme = (notebook / PAGE).read_text(), (notebook / README).read_text()
    for text in ("variable projection", "Huber, δ = 0.001", "smoothing", "held out", "wsd: warmup 2", "clusters"):
        assert text in page and text in readme
    assert "<svg" in (notebook / PICTURE).read_text() and PICTURE in readme
    assert scaling_words.verdict(told)[0] in (notebook.parent / README).read_text()


def test_the_terminal_shows_all_within_80_columns(made):
    lines = (made / "said.txt").read_text().splitlines()
    commands = [line for line in lines if line.startswith(("to train", "page:"))]
    assert len(commands) == 3
    assert max(len(line) for line in lines if line not in commands) <= 80 and not any("…" in line for line in lines)
    for text in ("gqa: L = E", "a, of N* ∝ C^a", "mla: nearest shape: model.dim=", "less than runs apart"):
        assert text in "\n".join(lines)


def test_too_few_points_are_no_law_and_still_a_page(what, tmp_path):
    few = [row for row in rows(what) if row["phase"] == "tune" or row["tokens"] == what.design.tokens(row["arm"], 0)]
    few = [failed(row, "diverged") if row["phase"] == "point" and row["number"] == 1 else row for row in few]
    notebook = noted(tmp_path, what, few)
    found = write_report(notebook)
    assert isinstance(found, Scaling) and found.records == {} and set(found.unfitted) == {"gqa", "mla"}
    data = read_json(notebook / LAW)
    assert data["arms"] == {} and {f["code"] for f in data["unfitted"]["gqa"]["findings"]} >= {"few_points"}
    complete = [row for row in few if row["phase"] == "point" and row["status"] == "complete"]
    count = sum(row["arm"].startswith("gqa") for row in complete)
    assert f"No law for gqa: its table has {count} different points" in scaling_words.verdict(found)[0]
    assert "1 point is left out: diverged" in " ".join(scaling_words.caveats(found))
    made = {name: (notebook / name).read_bytes() for name in (LAW, PAGE, README, PICTURE)}
    lines = (notebook / "results.csv").read_text().splitlines()
    random.Random(0).shuffle(rest := lines[1:])
    (notebook / "results.csv").write_text("\n".join([lines[0], *rest]) + "\n")
    write_report(notebook)
    assert made == {name: (notebook / name).read_bytes() for name in made}


def test_nothing_complete_is_said_too(what, tmp_path):
    found = write_report(noted(tmp_path, what, [failed(row, "oom") for row in rows(what)]))
    assert isinstance(found, Scaling) and not (tmp_path / "experiments" / "made" / PICTURE).exists()
    assert scaling_words.verdict(found)[0] == "No law for gqa: no point is complete."
    assert "No learning rate that was tried for gqa and mla came to its end." in scaling_words.caveats(found)
    assert "no point is complete" in said(*so_far(found.frame))


def test_an_arm_without_rates_leaves_the_other_its_own(what, told):
    few = [failed(row, "oom") if row["phase"] == "tune" and alone(row["arm"]) == "mla" else row for row in rows(what)]
    found = Scaling(Frame(what, few))
    vars(found).update(told=told.told)
    assert found.rates == {"gqa": told.rates["gqa"]}
    assert "No learning rate that was tried for mla came to its end." in scaling_words.caveats(found)
    assert dict(scaling_words.checklist(found, "mla"))["tuning"] == "learning rate: none that was tried came to its end"


def test_a_stopped_study_shows_what_is_there(what):
    some = [row for row in rows(what) if row["phase"] == "tune" or alone(row["arm"]) == "gqa"][:25]
    text = said(*so_far(Frame(what, some)))
    assert "gqa: test bits per byte by size and FLOPs" in text and "7 points" in text and "18 rates tried" in text
    assert f"{some[-1]['test_bpb']:.4f}" in text


def test_the_order_of_rows_is_all_the_same(what):
    found, mixed = rows(what), rows(what)
    random.Random(0).shuffle(mixed)
    one, other = (Scaling(Frame(what, some)) for some in (found, mixed))
    for name in LAWS:
        a, b = one.table(name), other.table(name)
        assert all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("n", "d", "c", "loss"))
        assert a.clusters == b.clusters and one.grid(name) == other.grid(name)
    assert one.rates == other.rates and one.spent == other.spent


def test_one_arm_is_the_model(what):
    arms = tuple(arm for arm in what.arms if arm.alone == "gqa")
    sizes = tuple(size for size in what.design.sizes if alone(size.arm) == "gqa")
    alone_ = replace(what, arms=arms, design=replace(what.design, sizes=sizes))
    scaling = Scaling(Frame(alone_, []))
    assert scaling_words.question(scaling).startswith("How large should the model be")
    assert json.dumps(scaling.data())
