"""Anyone's table: what counts, what is left out and why, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nanochat.core.errors import SpecError
from nanochat.law.table import read_points, read_table

GRID = [(n, n * ratio) for n in (1e6, 1e7, 1e8) for ratio in (1, 10, 100)]


def write(path: Path, header: str, rows: Sequence[tuple[object, ...]]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_columns_of_any_name_and_further_inputs(tmp_path: Path) -> None:
    rows = [(n, d, 3.0 + i, 7 * n * d, f"run{i // 2}", 2.0 * n) for i, (n, d) in enumerate(GRID)]
    path = write(tmp_path / "runs.csv", "size,seen,nats,cost,who,unique", rows)
    points = read_points(path, n="size", d="seen", loss="nats", c="cost", cluster="who", inputs=["unique"])
    assert points.n.tolist() == [n for n, _ in GRID] and points.loss.tolist() == [row[2] for row in rows]
    assert points.measured and np.allclose(points.c, 7 * points.n * points.d)
    assert list(points.clusters) == [row[4] for row in rows] and points.inputs["unique"].tolist() == [
        2 * n for n, _ in GRID
    ]


def test_tokens_follow_from_compute(tmp_path: Path) -> None:
    path = write(tmp_path / "runs.csv", "n,c,loss", [(n, 6 * n * d, 3.0) for n, d in GRID])
    points = read_points(path, n="n", c="c", loss="loss")
    assert points.d.tolist() == pytest.approx([d for _, d in GRID]) and not points.measured


def test_of_a_study_confirming_runs_and_points_of_a_law_count(tmp_path: Path) -> None:
    rows = [
        ("complete", "seed", 1e6, 1e8, 3.1, "a"),
        ("complete", "point", 1e6, 2e8, 3.0, "b"),
        ("complete", "tune", 1e6, 1e8, 3.2, "c"),
        ("diverged", "seed", 1e6, 1e8, "", "d"),
        ("failed", "point", 1e6, 1e8, "", "e"),
        ("complete", "seed", 1e6, 1e8, "nan", "f"),
        ("complete", "seed", 1e6, 1e8, "-1", "g"),
        ("complete", "seed", 1e6, 1e8, "inf", "g"),
        ("complete", "seed", 1e6, 1e8, "", "h"),
        ("complete", "seed", 1e6, 1e8, 3.1, "a"),
        ("complete", "seed", 1e6, 1e8, 3.1, "another seed"),
    ]
    points = read_table(
        write(tmp_path / "results.csv", "status,phase,params,tokens,loss,key", rows),
        n="params",
        d="tokens",
        loss="loss",
    )
    assert list(points.clusters) == ["a", "b", "another seed"]
    expected = {"tuning": 1, "diverged": 1, "failed": 1, "no number": 2, "not above zero": 2, "duplicate": 1}
    assert dict(points.excluded) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"n": "sise", "d": "d"}, "task.n=sise: runs.csv has no such column; did you mean 'size'?"),
        ({"n": "size", "d": "d", "c": "flops"}, "task.c=flops"),
        ({"n": "size", "d": "d", "inputs": ["unique"]}, "task.inputs=unique"),
        ({"n": "size"}, "name a column for task.d or task.c"),
        ({"n": "empty", "d": "d"}, "no row counts; 9 no number"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, names: dict, message: str) -> None:
    path = write(tmp_path / "runs.csv", "size,d,loss,empty", [(n, d, 3.0, "") for n, d in GRID])
    with pytest.raises(SpecError) as error:
        read_points(path, loss="loss", **names)
    assert message in str(error.value)


def test_a_picture_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(SpecError, match="not a CSV table"):
        read_points(path, n="n", d="d", loss="loss")
    path.write_text("n,d,loss\n")
    with pytest.raises(SpecError, match="no row counts; it has a header alone"):
        read_points(path, n="n", d="d", loss="loss")


def test_runs_that_went_on_from_one_another_are_one_cluster(tmp_path: Path) -> None:
    starts = ["", "k0", "k1", "", "k3", "", "k7", "k6", "elsewhere"]
    rows = [(f"k{i}", start, n, d, 3.0) for i, (start, (n, d)) in enumerate(zip(starts, GRID, strict=True))]
    path = write(tmp_path / "results.csv", "key,start,n,d,loss", rows)
    found = read_table(path, n="n", d="d", loss="loss").clusters
    assert list(found)[:6] == ["k0", "k0", "k0", "k3", "k3", "k5"] and found[8] == "k8"
    assert list(read_table(path, n="n", d="d", loss="loss", cluster="key").clusters) == [row[0] for row in rows]
