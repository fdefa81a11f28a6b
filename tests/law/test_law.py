"""`task=law` at the command line: what it tells, and which tables it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.law.known import EXACT, D, N


def table(path: Path, loss: np.ndarray, **columns: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["params", "tokens", "loss", *columns])
        writer.writerows(zip(N, D, loss, *columns.values(), strict=True))
    return path


def test_the_task_tells_a_law_and_where_it_comes_from(program, tmp_path: Path) -> None:
    status = ["complete"] * len(N)
    status[3] = "diverged"
    columns = {
        "status": status,
        "flops": [str(c) for c in 7 * N**0.99 * D],
        "run": [str(i // 2) for i in range(len(N))],
    }
    path = table(tmp_path / "runs.csv", EXACT, **columns)
    words = [f"task.data={path}", "task.c=flops", "task.cluster=run", "task.flops=1e21", "task.resamples=40"]
    said = program("task=law", *words, "task.out=law.json", base=())
    assert said.code == 0, said.err
    assert max(len(line) for line in said.out.splitlines() if not line.startswith("law: ")) <= 80
    for part in ("20 rows of 11 runs (left out: 1 diverged)", "C as measured", "2, akima", "held out", "starts agree"):
        assert part in said.out, part
    told = json.loads((tmp_path / "law.json").read_text())
    assert told["law"]["alpha"] == pytest.approx(0.34, rel=1e-5)
    assert len(told["rows"]) == len(N) - 1 and told["excluded"] == {"diverged": 1} and told["at"] == 1e21
    assert told["definitions"]["loss"] == "column loss" and told["interval"]["clusters"] == 11
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
        "runs.csv": zip(N, D, EXACT, strict=True),
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
