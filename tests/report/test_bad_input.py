"""Studies that allow no verdict, or half of one: every form of their report says so, and why."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nanochat.core.artifact import read_json, write_json
from nanochat.core.errors import MachineError, SpecError
from nanochat.report import words
from nanochat.report.analysis import Analysis
from nanochat.report.frame import read_frame
from nanochat.report.notebook import CURVES, EVIDENCE, PAGE, README, SCORES, VERDICTS
from nanochat.report.write import write_report
from nanochat.study.axes import Axis
from nanochat.study.definition import FILE, plain
from nanochat.study.reading import Reading
from nanochat.study.table import FILE as RESULTS
from nanochat.study.table import csv_text
from nanochat.task.conclude import show
from tests.report.studies import CLEAR, Ends, collected, definition, framed, reported, row, rows, settings_in
from tests.study.definitions import PEAK

FAILED = ("diverged", "diverged", "diverged")

# Error bars of a figure with numbers in them.
BARS = re.compile(r'"error_[xy]":\{[^}]*"array":\[[-0-9.e]+')

# ends, more about the study, and what must be said.
BAD: dict[str, tuple[Ends, dict[str, Any], str]] = {
    "one arm": ({"mla": (1.5, 1.6, 1.7)}, {}, "nothing to compare it with"),
    "one seed": ({"mla": (1.5,), "gqa": (2.0,)}, {}, "1 seed cannot tell arms apart"),
    "two seeds": ({"mla": (1.5, 1.6), "gqa": (2.0, 2.2)}, {}, "2 seeds cannot tell arms apart"),
    "nothing run": ({"mla": (), "gqa": ()}, {"seeds": (1, 2, 3)}, "no confirming run is complete"),
    "all diverged": ({"mla": FAILED, "gqa": FAILED}, {}, "no confirming run is complete: 6 diverged"),
    "one arm all failed, of two": ({"mla": (1.5, 1.6, 1.7), "gqa": FAILED}, {}, "gqa has no result"),
    "mixed texts": (CLEAR, {"texts": {"gqa": "other texts"}}, "read different texts"),
    "several objectives, one seed": (
        {"mla": (1.5,), "gqa": (2.0,)}, {"objectives": ("bpb", "flops", "params")}, "1 seed cannot",
    ),
    "two scales, two seeds": (
        {f"{arm} @ {at}": (1.5 + i, 1.6 + i) for at in ("small", "large") for i, arm in enumerate(("mla", "gqa"))},
        {}, "At large (100K parameters): undecided, 2 seeds cannot",
    ),
    "no result of the baseline": (
        {"mla": FAILED, "gqa": (1.5, 1.6, 1.7)}, {"reading": Reading(baseline="mla")}, "mla has no result",
    ),
}  # fmt: skip


def intervals(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in plain data that has an interval."""
    if isinstance(value, dict):
        if value.get("low") is not None or value.get("high") is not None or value.get("bootstrap"):
            yield value
        for part in value.values():
            yield from intervals(part)
    elif isinstance(value, list):
        for part in value:
            yield from intervals(part)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_concluded_is_said_everywhere(tmp_path: Path, name: str):
    ends, study, said = BAD[name]
    analysis, notebook = reported(tmp_path, ends, **study)
    console = Console(width=300, file=(out := io.StringIO()))
    show(analysis, console)
    data = read_json(notebook / VERDICTS)
    page = re.sub(r"<script.*?</script>", "", (notebook / PAGE).read_text(), flags=re.S)
    for form in (page, (notebook / README).read_text(), " ".join(data["verdict"]), out.getvalue()):
        assert said in form
        assert "nan" not in re.findall(r"[a-z]+", form)
        # No interval from fewer than three seeds; those that there are have three.
        assert "[" not in re.sub(r"!?\[[^]]*\]\(", "", form)
    assert list(intervals(data)) == []
    for part in data["scales"]:
        assert all(pair["word"] == "undecided" for pair in part["pairs"])
    if "diverged" in name:
        assert "why mla diverged" in page
    assert words.caveats(analysis) == data["caveats"]
    assert not BARS.search(_forests(notebook / PAGE))


def _forests(page: Path) -> str:
    """The figures of paired differences."""
    scripts = re.findall(r"Plotly\.newPlot\(.*?</script>", page.read_text(), flags=re.S)
    return " ".join(script for script in scripts if "difference in bits per byte" in script)


def test_a_good_study_beside_them_has_intervals_and_a_verdict(tmp_path):
    analysis, notebook = reported(tmp_path, CLEAR)
    assert words.verdict(analysis)[0].startswith("mla is best, every other arm is worse: mla scores 1.5100")
    assert BARS.search(_forests(notebook / PAGE))
    found = list(intervals(read_json(notebook / VERDICTS)))
    assert any("bootstrap" in one for one in found) and any(one.get("seeds") == 3 for one in found)


def test_an_arm_that_failed_leaves_the_others_their_verdict(tmp_path):
    ends = {**CLEAR, "alibi": FAILED, "late": ("diverged", 3.0, 3.1), "sparse": ("oom", "failed", 1.7)}
    analysis, notebook = reported(tmp_path, ends)
    verdict = " ".join(words.verdict(analysis))
    assert "Lowest mean: mla" in verdict and "Worse: gqa by" in verdict
    assert "Without a result: alibi" in verdict
    assert "late (3 seeds are the least that can)" in verdict
    caveats = " ".join(words.caveats(analysis))
    assert "4 confirming runs are left out: diverged" in caveats and "1 confirming run is left out: oom" in caveats
    page = (notebook / PAGE).read_text()
    assert "why sparse oom" in page
    assert all(one["seeds"] == 3 for one in intervals(read_json(notebook / VERDICTS)) if "seeds" in one)


def test_one_seed_of_four_that_diverged_is_left_out_and_said():
    analysis = framed({"mla": (1.5, 1.52, 1.51, 1.53), "gqa": (2.0, "diverged", 2.01, 2.03)})
    (pair,) = analysis.scales[0].pairs
    assert (pair.word, pair.difference.seeds) == ("better", 3)
    assert any("1 confirming run is left out: diverged" in caveat for caveat in words.caveats(analysis))
    assert analysis.scales[0].noise is not None and analysis.scales[0].noise.seeds == 3


def test_arms_that_share_no_seed_have_no_difference():
    analysis = framed({"mla": (1.5, "oom"), "gqa": ("oom", 2.0)})
    assert words.verdict(analysis)[0].startswith("No verdict, no two arms share a seed")


def test_pruned_trials_choices_and_conditions_are_shown(tmp_path):
    from nanochat.core.compose import Choice

    axes = (PEAK, Axis("norm", Choice(("rmsnorm", "layernorm"))))
    trials = [
        row("mla", "pruned" if n % 3 == 0 else 2.0 + 0.1 * n, number=n, seed=0, phase="tune",
            **{"lr.peak": 0.001 * (n + 1), "norm": "rmsnorm" if n % 2 else "layernorm"})
        for n in range(14)
    ]  # fmt: skip
    what = definition(CLEAR)
    arms = (replace(what.arms[0], axes=axes), what.arms[1])
    first = {"mla": {"lr.peak": 0.001, "norm": "rmsnorm"}, "gqa": {}}
    analysis, notebook = reported(tmp_path, CLEAR, more=trials, arms=arms, first=first)
    page = (notebook / PAGE).read_text()
    assert "Search over norm" in page and "Search over lr.peak" in page and "What mattered in the search" in page
    assert "pruned" in page and '"layernorm"' in page
    assert analysis.frame.results["mla"].best == {"lr.peak": 0.002, "norm": "rmsnorm"}


@pytest.mark.parametrize("name", [RESULTS, CURVES, SCORES, EVIDENCE])
def test_a_file_that_is_missing_is_named_and_the_rest_is_shown(tmp_path, name):
    notebook = collected(tmp_path, CLEAR)
    (notebook / name).unlink()
    analysis = write_report(notebook)
    assert isinstance(analysis, Analysis)
    assert any(f"{name} is missing" in caveat for caveat in words.caveats(analysis))
    assert f"{name} is missing" in (notebook / PAGE).read_text()
    assert f"{name} is missing" in (notebook / README).read_text()
    best = words.verdict(analysis)[0].startswith("mla is best")
    assert best == (name != RESULTS)


def test_new_documents_need_the_scores_of_every_run(tmp_path):
    notebook = collected(tmp_path, CLEAR, reading=Reading(generalise="documents"))
    assert words.verdict(Analysis(read_frame(notebook)))[0].startswith("mla is best")
    (notebook / SCORES).unlink()
    analysis = Analysis(read_frame(notebook))
    assert words.verdict(analysis) == [
        "No verdict: study.generalise=documents needs the scores of documents, and 6 of 6 confirming runs have none."
    ]


@pytest.mark.parametrize("name", [RESULTS, CURVES, SCORES, EVIDENCE, FILE])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_named(tmp_path, name, damage):
    notebook = collected(tmp_path, CLEAR)
    whole = (notebook / name).read_bytes()
    (notebook / name).write_bytes(whole[: len(whole) // 2 - 7] if damage == "cut" else b"arm,what\nmla,1\n")
    with pytest.raises(MachineError, match=name):
        read_frame(notebook)


def test_an_empty_file_is_no_table(tmp_path):
    notebook = collected(tmp_path, CLEAR)
    (notebook / CURVES).write_bytes(b"")
    with pytest.raises(MachineError, match=CURVES):
        read_frame(notebook)


def test_other_versions_are_told(tmp_path):
    notebook = collected(tmp_path, CLEAR)
    write_json(notebook / EVIDENCE, {**read_json(notebook / EVIDENCE), "schema": 99})
    assert any("another version" in caveat for caveat in words.caveats(Analysis(read_frame(notebook))))
    write_json(notebook / FILE, {**plain(definition(CLEAR)), "schema": 99})
    with pytest.raises(SpecError, match="schema 99"):
        read_frame(notebook)


def test_runs_that_are_gone_take_nothing_from_the_notebook(tmp_path):
    import shutil

    from nanochat.report.collect import collect

    notebook = collected(tmp_path, CLEAR)
    before = {path.name: path.read_bytes() for path in notebook.iterdir()}
    shutil.rmtree(tmp_path / "multirun" / "runs")
    collect(definition(CLEAR), rows(CLEAR), settings=settings_in(tmp_path), notebook=notebook, total=6)
    assert {path.name: path.read_bytes() for path in notebook.iterdir()} == before


def test_a_study_in_the_middle_or_in_a_database_says_so(tmp_path):
    notebook = collected(tmp_path, CLEAR)
    evidence = read_json(notebook / EVIDENCE)
    write_json(notebook / EVIDENCE, {**evidence, "total": 9, "missing": ["abc"]})
    caveats = words.caveats(Analysis(read_frame(notebook)))
    assert "The study is not finished: 6 of 9 runs are." in caveats
    assert "The folder of one confirming run is gone: abc." in caveats
    write_json(notebook / EVIDENCE, {**evidence, "total": None})
    assert any("database that was not named" in caveat for caveat in words.caveats(Analysis(read_frame(notebook))))
    # Without a table there is a report, too.
    (notebook / RESULTS).write_text(csv_text([], definition(CLEAR)))
    assert words.verdict(Analysis(read_frame(notebook))) == ["No result: no confirming run is complete."]
