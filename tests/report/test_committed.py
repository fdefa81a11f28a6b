"""A report from the committed files alone, on a machine that never ran the study; and from files in any order."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nanochat.core.artifact import read_json
from nanochat.report.notebook import CURVES, EVIDENCE, PAGE, PICTURE, README, SCORES, VERDICTS, write_table
from nanochat.report.write import write_report
from nanochat.study.table import FILE as RESULTS
from tests.e2e.conftest import program as program

MADE = (PAGE, README, VERDICTS, PICTURE)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in MADE}


@pytest.fixture
def committed(real: Path, tmp_path: Path) -> Path:
    """The study's folder as a checkout has it."""
    shutil.copytree(real / "experiments", tmp_path / "experiments")
    notebook = tmp_path / "experiments" / "real"
    for name in MADE:
        (notebook / name).unlink()
    (notebook.parent / README).unlink()
    return notebook


def test_the_page_is_made_again_to_the_byte(real, committed, program, tmp_path):
    said = program("task=report", "study.name=real")
    assert said.code == 0, said.err
    assert "Traceback" not in said.out + said.err and str(committed / PAGE) in said.out
    assert contents(committed) == contents(real / "experiments" / "real")
    assert (committed.parent / README).read_bytes() == (real / "experiments" / README).read_bytes()
    assert not list((tmp_path / "multirun").glob("runs/*"))


def test_a_study_must_be_named_and_there(committed, program):
    none = program("task=report")
    assert none.code == 2 and "study.name" in none.err and "real" in none.err
    other = program("task=report", "study.name=reel")
    assert other.code == 2 and "no study of that name" in other.err and "did you mean 'real'" in other.err


def test_the_order_of_rows_is_all_the_same(real, committed):
    shuffle = random.Random(0).shuffle
    head, *lines = (committed / RESULTS).read_text().splitlines()
    shuffle(lines)
    (committed / RESULTS).write_text("\n".join([head, *lines]) + "\n")
    for name in (CURVES, SCORES):
        table = pq.read_table(committed / name)
        keys = table.column("key").to_pylist()
        # Runs change places, and their rows mix; each run's own rows keep their order.
        slots = list(keys)
        shuffle(slots)
        rows = {key: iter(np.flatnonzero(np.array(keys) == key)) for key in set(keys)}
        write_table(committed / name, table.take([int(next(rows[key])) for key in slots]))
    write_report(committed)
    assert contents(committed) == contents(real / "experiments" / "real")


def test_numbers_of_the_page_come_from_the_files(real):
    folder = real / "experiments" / "real"
    page = re.sub(r"<script.*?</script>", "", (folder / PAGE).read_text(), flags=re.S)
    files = "".join((folder / name).read_text() for name in (RESULTS, VERDICTS, EVIDENCE))
    known = {float(text) for text in re.findall(r"-?\d+\.\d+(?:e[-+]?\d+)?", files)}
    known |= {-value for value in known}
    places = {f"{value:.4f}" for value in known} | {f"{value:+.4f}" for value in known} | {"-0.0000"}
    shown = [n for cell in re.findall(r"<td[^>]*>(.*?)</td>", page) for n in re.findall(r"[-+]?\d+\.\d{4}\b", cell)]
    assert len(shown) > 60
    assert [number for number in shown if number not in places] == []


def test_what_is_known_of_the_code_and_texts_is_shown(real):
    folder = real / "experiments" / "real"
    evidence, page = read_json(folder / EVIDENCE), (folder / PAGE).read_text()
    assert evidence["texts"][0]["fingerprint"] in page
    assert evidence["origins"][0]["machine"]["processor"] in page
    assert evidence["origins"][0]["packages"]["torch"] in page
    assert "seeds</dt><dd>1, 2, 3; tuned on 0" in page and "config of mla @ large" in page
    for sample in list(evidence["samples"].values())[:1]:
        assert len(sample["drawn"]["texts"]) == 4
