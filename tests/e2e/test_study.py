"""`-m` as people use it: a table, a verdict, a page; the same command again; what it refuses."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

STUDY = ("attention=mla,gqa", "seed=1,2", "stop.steps=4", "study.slots=2", "study.name=pair", "-m")


class Page(HTMLParser):
    """Collects what a page would fetch, and the text of its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.figures = 0
        self.cells: list[str] = []
        self.in_cell = False

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.fetched += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]
        self.figures += "plotly-graph-div" in (names.get("class") or "")
        self.in_cell = tag == "td"

    def handle_data(self, data):
        if self.in_cell and data.strip():
            self.cells.append(data.strip())


def test_a_study_ends_in_a_table_a_verdict_and_a_page(program, tmp_path):
    said = program(*STUDY)
    assert said.code == 0, said.err
    assert "Undecided: 2 seeds" in said.out
    assert said.out.count("undecided") == 2
    assert "a sample of the best model" in said.out
    assert max(map(len, said.out.split("a sample of the best model")[0].splitlines())) <= 80
    folder = tmp_path / "multirun" / "studies" / "pair"
    assert str(folder / "results.html") in said.out
    for name in ("results.csv", "study.json"):
        assert (tmp_path / "experiments" / "pair" / name).read_bytes() == (folder / name).read_bytes()
    check_page((folder / "results.html").read_text(), csv=(folder / "results.csv").read_text())

    before = (folder / "results.csv").read_bytes()
    again = program(*STUDY)
    assert again.code == 0
    assert "is complete: nothing left to run" in again.out
    assert (folder / "results.csv").read_bytes() == before

    other = program("attention=mla,mha", "seed=1,2", "stop.steps=4", "study.name=pair", "-m")
    assert other.code == 2
    assert "is another study" in other.err
    assert len(other.err.splitlines()) < 12
    assert (folder / "results.csv").read_bytes() == before


def check_page(text: str, *, csv: str) -> None:
    """Self-contained, with every figure, and every number of a cell traceable to the study's own files."""
    page = Page()
    # Plotly's own code is a string of the page, and not what the page says.
    page.feed(re.sub(r"<script.*?</script>", "", text, flags=re.S))
    assert page.fetched == []
    assert page.figures == 2
    rows = [line.split(",") for line in csv.splitlines()]
    tests = [float(row[rows[0].index("test_bpb")]) for row in rows[1:]]
    shown = [cell for cell in page.cells if re.fullmatch(r"\d\.\d{4}", cell)]
    assert {f"{value:.4f}" for value in tests} <= set(shown)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=sample"], "nothing with -m"),
        (["attention.kv_heads=3"], "must divide"),
        (["attention=mla,gqa", "attention.kv_heads=4"], "study.arms"),
        (["attention=mla,zzz"], "no such option"),
        (["seed=1,1"], "twice"),
        (["lr.peak=interval(2,1)"], "low end"),
        (["study.name=a/b"], "plain name"),
        (["study.trials=0"], r"study\.trials"),
    ],
)
def test_bad_studies_are_refused_before_anything_is_spent(program, tmp_path, words, message):
    said = program(*words, "-m")
    assert said.code == 2
    assert re.search(message, said.err)
    assert len(said.err.splitlines()) <= 4
    assert not (tmp_path / "multirun" / "runs").exists()


def test_a_plan_runs_nothing(program, tmp_path):
    said = program("attention=mla,gqa", "lr.peak=interval(1e-3,1e-2)", "seed=1,2", "task=plan", "-m")
    assert said.code == 0
    assert "20 runs" in said.out
    assert not (tmp_path / "multirun" / "runs").exists()
