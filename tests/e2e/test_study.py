"""`-m` as people use it: a table, a verdict, a page; the same command again; what it refuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nanochat.core.compose import compose
from nanochat.run.spec import run_spec
from tests.runs import SMALL

ROOT = Path(__file__).resolve().parents[2]

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
    assert "undecided, 2 seeds cannot tell arms apart" in said.out.lower()
    assert said.out.count("undecided") >= 2
    assert "a sample of the best model" in said.out
    assert max(map(len, said.out.split("a sample of the best model")[0].splitlines())) <= 80
    folder = tmp_path / "multirun" / "studies" / "pair"
    notebook = tmp_path / "experiments" / "pair"
    assert str(notebook / "report.html") in said.out
    for name in ("results.csv", "study.json"):
        assert (notebook / name).read_bytes() == (folder / name).read_bytes()
    check_page((notebook / "report.html").read_text(), csv=(folder / "results.csv").read_text())

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
    assert page.figures > 5
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
    assert "20 runs" in said.out and "time: about" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    assert not (tmp_path / "multirun" / "runs").exists()


def test_a_comparison_of_costs_needs_no_study(program, tmp_path):
    said = program("task=cost", "attention=mla,gqa,sparse")
    assert said.code == 0, said.err
    head, *lines = said.out.splitlines()
    assert head.split() == ["mla", "gqa", "sparse"]
    found = {re.split(r"\s{2,}", line.strip())[0]: re.split(r"\s{2,}", line.strip())[1:] for line in lines}
    for column, name in enumerate(("mla", "gqa", "sparse")):
        spec = run_spec(compose([*SMALL, f"attention={name}"])).resolve()
        assert found["parameters"][column] == f"{spec.cost.params:,}"
        assert found["decoding state per token"][column] == f"{spec.cost.state_bytes:,.0f} B"
    assert len(set(found["training memory"])) == 3
    assert max(map(len, said.out.splitlines())) <= 80
    assert not list((tmp_path / "multirun").glob("runs/*"))
    assert not list((tmp_path / "multirun").glob("studies/*"))


@pytest.mark.slow
def test_a_study_that_is_interrupted_says_so_to_the_shell(tmp_path):
    paths = (f"paths.multirun={tmp_path}/multirun", f"paths.experiments={tmp_path}/experiments")
    words = [*SMALL, *paths, "attention=mla,gqa", "seed=1,2", "stop.steps=5000", "study.slots=1", "-m"]
    process = subprocess.Popen(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        env={**os.environ, "NANOCHAT_QUIET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not list((tmp_path / "multirun").glob("runs/*/metrics.csv")):
        assert time.monotonic() < deadline and process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 130, out
    assert "stopped; the same command continues" in out
    assert "Traceback" not in out
