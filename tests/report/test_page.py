"""A study's page as visitors have it: at a desk, on a phone, on paper."""

from __future__ import annotations

import csv
import io

import pytest

from nanochat.report.notebook import PAGE
from nanochat.study.table import FILE as RESULTS
from tests.pages import DESKTOP, PHONE, needs_chromium, opened

pytestmark = needs_chromium


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_everything_is_drawn_and_nothing_fetched(real, size):
    with opened(real / "experiments" / "real" / PAGE, size=size) as there:
        assert there.errors == [] and there.requested == []
        assert there.figures == there.page.locator(".plotly-graph-div").count() > 15
        assert there.overflow == 0
        ids = there.page.evaluate("[...document.querySelectorAll('[id]')].map(part => part.id)")
        assert len(set(ids)) == len(ids)


def test_the_data_of_a_figure_are_those_of_the_table(real):
    folder = real / "experiments" / "real"
    rows = list(csv.DictReader((folder / RESULTS).open()))
    with opened(folder / PAGE) as there:
        forest = list(csv.DictReader(io.StringIO(there.download(0))))
        last = there.page.locator("a.data").count() - 1
        search = list(csv.DictReader(io.StringIO(there.download(last))))
    seeds = {row["label"]: float(row["x"]) for row in forest if row["series"] == "gqa − mla: seeds"}
    score = {(r["arm"], r["seed"]): float(r["test_bpb"]) for r in rows if r["phase"] == "seed"}
    assert seeds == {f"seed {n}": score["gqa @ small", n] - score["mla @ small", n] for n in "123"}
    tuned = {(r["arm"], f"trial {r['number']}", float(r["valid_bpb"])) for r in rows if r["phase"] == "tune"}
    assert {(row["series"], row["label"], float(row["y"])) for row in search} == tuned


def test_paper_shows_what_is_folded(real):
    with opened(real / "experiments" / "real" / PAGE) as there:
        assert there.page.locator("details:not([open])").count() > 0
        assert there.page.pdf(format="A4")[:5] == b"%PDF-"
        assert there.page.locator("details:not([open])").count() == 0
        assert there.errors == []


def test_figures_fit_on_paper_and_are_as_before_when_it_is_printed(real):
    widths = "[...document.querySelectorAll('.plotly-graph-div .main-svg:first-child')].map(svg => svg.clientWidth)"
    with opened(real / "experiments" / "real" / PAGE) as there:
        before = there.page.evaluate(widths)
        columns = "[...document.querySelectorAll('.plotly-graph-div')].map(figure => figure.parentElement.clientWidth)"
        assert before == there.page.evaluate(columns)
        there.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        paper = there.page.evaluate(widths)
        assert max(paper) <= 704 < max(before) and min(paper) > 300
        there.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert there.page.evaluate(widths) == before
