"""A scaling study that was trained: its page as visitors have it, and what is kept of it."""

from __future__ import annotations

import csv
import io

import pytest

from nanochat.core.artifact import read_json
from nanochat.report.notebook import EVIDENCE, LAW, PAGE, README, SCORES
from nanochat.study.table import FILE as RESULTS
from tests.pages import DESKTOP, PHONE, needs_chromium, opened


def test_what_is_kept_is_small_and_says_where_it_comes_from(scaled):
    notebook = scaled / "experiments" / "scaled"
    evidence, law = read_json(notebook / EVIDENCE), read_json(notebook / LAW)
    rows = list(csv.DictReader((notebook / RESULTS).open()))
    points = [row for row in rows if row["phase"] == "point"]
    assert len(points) == 9 and evidence["origins"][0]["runs"] == 9 and len(evidence["texts"]) == 1
    (record,) = law["arms"].values()
    assert sorted(row["loss"] for row in record["rows"]) == sorted(float(row["test_bpb"]) for row in points)
    (spent,) = law["spent"].values()
    assert spent["trained"] == sum(float(row["flops_spent"]) for row in points) < spent["whole"]
    best = min(points, key=lambda row: float(row["test_bpb"]))
    assert list(evidence["samples"]) == [best["key"]]
    assert not (notebook / SCORES).exists() and SCORES not in (notebook / README).read_text()
    assert sum(path.stat().st_size for path in notebook.iterdir() if path.name != PAGE) < 500_000


@needs_chromium
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_everything_is_drawn_and_nothing_fetched(scaled, size):
    with opened(scaled / "experiments" / "scaled" / PAGE, size=size) as there:
        assert there.errors == [] and there.requested == []
        assert there.figures == there.page.locator(".plotly-graph-div").count() > 12
        assert there.overflow == 0
        ids = there.page.evaluate("[...document.querySelectorAll('[id]')].map(part => part.id)")
        assert len(set(ids)) == len(ids)


@needs_chromium
def test_two_arms_are_drawn_in_one_figure(made):
    with opened(made / "experiments" / "made" / PAGE) as there:
        assert there.errors == [] and there.overflow == 0
        assert there.figures == there.page.locator(".plotly-graph-div").count() > 20
        shown = list(csv.DictReader(io.StringIO(there.download(0))))
    law = read_json(made / "experiments" / "made" / LAW)
    for name, record in law["arms"].items():
        drawn = sorted(float(row["y"]) for row in shown if row["series"] == f"{name}: runs")
        assert drawn == pytest.approx(sorted(row["loss"] for row in record["rows"]))
