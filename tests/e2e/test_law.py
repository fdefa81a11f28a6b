"""`task=law`, `task=predict` and `task=allocate` at the command line."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanochat.core.artifact import write_json
from nanochat.law.annealing import Annealing
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.record import tell
from nanochat.law.repeated import Repeated
from nanochat.law.table import Points
from nanochat.study.definition import plain
from tests.pages import PHONE, needs_chromium, opened
from tests.runs import SMALL
from tests.study.definitions import definition

# Best at about 20 tokens a parameter, at the size of tests.
TRUTH = Hoffmann(E=1.2, A=60.0, B=120.0, alpha=0.4, beta=0.37)
N, D = np.array([(n, c / 6 / n) for c in (1e11, 1e12, 1e13) for n in np.geomspace(0.2, 5, 6) * (c / 120) ** 0.5]).T
LOSS = np.asarray(TRUTH.loss(N, D))


def table(path: Path, **columns: Any) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def record() -> dict[str, Any]:
    points = Points(N, D, LOSS, [str(i) for i in range(len(N))], {}, 6 * N * D)
    return tell(points, resamples=40)


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("law") / "law.json"
    path.write_text(json.dumps(record()))
    return path


def narrow(out: str) -> bool:
    """All but paths and commands, which are to be copied, fits 80 columns."""
    return all(len(line) <= 80 for line in out.splitlines() if not line.startswith(("law: ", "page: ", "python ")))


STEPS = np.geomspace(1, 50, 24)
REST = np.resize([0.0, 0.1, 0.4], 24)
UNIQUE = D / np.resize([1, 4, 30], len(N))
ANNEALING = Annealing(L0=2.0, A=0.5, C=0.3, alpha=0.4)
REPEATED = Repeated(E=1.2, A=60.0, B=120.0, alpha=0.4, beta=0.37, R=12.0)


@pytest.mark.parametrize(
    ("form", "columns", "words", "value"),
    [
        (
            "annealing",
            {"sum": STEPS, "s2": REST, "loss": ANNEALING.loss(STEPS, REST)},
            ["task.s1=sum", "task.s2=s2"],
            ("task.s1=10 task.s2=0", ANNEALING.loss(10.0, 0.0)),
        ),
        (
            "repeated",
            {"params": N, "tokens": D, "unique": UNIQUE, "loss": REPEATED.loss(N, D, UNIQUE)},
            [],
            ("task.n=1e5 task.d=1e7 task.unique=1e6", REPEATED.loss(1e5, 1e7, 1e6)),
        ),
    ],
)
def test_other_forms_read_columns_of_their_own(
    program, tmp_path: Path, form: str, columns: dict[str, Any], words: Sequence[str], value: tuple[str, float]
) -> None:
    table(tmp_path / "runs.csv", **columns)
    common = ["task=law", f"task.form={form}", "task.data=runs.csv", "task.out=law.json", "task.resamples=40"]
    said = program(*common, *words, base=())
    assert said.code == 0 and narrow(said.out), said.err
    page = (tmp_path / "law.html").read_text()
    assert "runs.csv" in page and "Residuals" in page
    said = program("task=predict", "task.law=law.json", *value[0].split(), base=())
    assert said.code == 0 and f"{value[1]:.4g}" in said.out, said.out
    said = program(*common, *words, "task.s2=rest" if form == "annealing" else "task.unique=seen", base=())
    assert said.code == 2 and "has no such column" in said.err
    assert said.err.startswith("task.s2=rest" if form == "annealing" else "task.unique=seen")


@needs_chromium
def test_the_law_of_a_table_has_a_page(program, tmp_path: Path) -> None:
    table(tmp_path / "runs.csv", params=N, tokens=D, loss=LOSS)
    said = program("task=law", "task.data=runs.csv", "task.out=out/law.json", "task.resamples=40", base=())
    assert said.code == 0 and "page: out/law.html" in said.out, said.err
    told = json.loads((tmp_path / "out" / "law.json").read_text())
    with opened(tmp_path / "out" / "law.html", size=PHONE) as there:
        assert there.errors == [] and there.requested == [] and there.overflow == 0
        assert there.figures == there.page.locator(".plotly-graph-div").count() > 8
        text = there.page.inner_text("body")
    assert f"{told['law']['E']:.4g}" in text and told["provenance"]["sha256"] in text
    assert "bits per byte" not in text, "the unit of a table's loss is not known"


def test_losses_and_best_shapes_are_predicted(program, law: Path) -> None:
    said = program("task=predict", f"task.law={law}", "task.n=[1e5,1e6]", "task.d=2e7", base=())
    assert said.code == 0 and narrow(said.out) and "warning" not in said.out
    lines = said.out.splitlines()
    assert len(lines) == 4 and f"{TRUTH.loss(1e6, 2e7):#.4g}" in lines[3]
    said = program("task=predict", f"task.law={law}", "task.flops=[1e13,1e18]", base=())
    assert said.code == 0 and narrow(said.out)
    assert f"{TRUTH.best(1e13):#.4g}" in said.out and f"{TRUTH.tokens(1e18) / TRUTH.params(1e18):#.4g}" in said.out
    assert "1e+18 FLOPs are 1e+05 times the largest run" in said.out


def test_the_law_of_a_studys_arm(program, tmp_path: Path, law: Path) -> None:
    told = json.loads(law.read_text())
    folder = tmp_path / "experiments" / "sizes"
    folder.mkdir(parents=True)
    rates = {"level": -5.0, "exponent": -0.2, "exponent_sd": 0.1, "centre": 12.0, "low": 1e-4, "high": 1e-1}
    data = {"schema": 1, "target": 1e14, "arms": {"gqa": told, "mla": told}, "rates": {"gqa": {**rates, "tried": []}}}
    (folder / "law.json").write_text(json.dumps(data))
    said = program("task=predict", "study.name=sizes", "task.arm=mla", "task.flops=1e12", base=())
    assert said.code == 0, said.err
    said = program("task=predict", "study.name=sizes", "task.flops=1e12", base=())
    assert (said.code, said.err) == (2, "task.arm: there are several arms; try gqa or mla\n")
    said = program("task=allocate", "study.name=sizes", "task.arm=gqa", "task.flops=1e12")
    assert said.code == 0 and "the study's law of rates" in said.out and "batch.tokens=256" in said.out
    # What made the arm's runs is in the command, and no size or sweep of the study.
    write_json(folder / "study.json", plain(definition(arms=("gqa", "mla"), tuned=())))
    said = program("task=allocate", "study.name=sizes", "task.arm=mla", "task.flops=1e12", *SMALL[:-1], base=())
    assert said.code == 0 and "published" in said.out, said.err
    assert "attention=mla " in said.out.splitlines()[-1] and " study." not in said.out.splitlines()[-1]


def test_each_arm_of_a_study_has_a_law_of_its_own(program, tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "studies" / "test"
    study = definition(arms=("mla", "gqa"), tuned=())
    write_json(folder / "study.json", plain(study))
    arms, twice = np.repeat(["mla", "gqa"], len(N)), {"params": np.tile(N, 2), "tokens": np.tile(D, 2)}
    table(folder / "results.csv", arm=arms, **twice, test_bpb=np.concatenate([LOSS, 1.1 * LOSS]))
    words = ["task=law", "study.name=test", "task.out=law.json", "task.resamples=40"]
    said = program(*words, base=())
    assert (said.code, said.err) == (2, "task.arm: the study has several arms; try mla or gqa\n")
    said = program(*words, "task.arm=gqa", base=())
    assert said.code == 0 and "18 rows of 18 runs (left out: 18 another arm)" in said.out, said.err
    assert json.loads((tmp_path / "law.json").read_text())["law"]["E"] == pytest.approx(1.1 * TRUTH.E, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=predict", "task.law=none.json"], "task.law=none.json: no such file"),
        (["task=predict"], "task.law: is needed: which law?"),
        (["task=predict", "task.law=LAW"], "task.n: is needed to predict"),
        (["task=predict", "task.law=LAW", "task.n=1e6", "task.flops=1e12"], "sizes are told besides"),
        (["task=allocate", "task.law=LAW"], "neither is given"),
        (["task=allocate", "task.law=LAW", "task.flops=1e12", "task.hours=1"], "both are given"),
        (["task=allocate", "task.law=LAW", "task.flops=1e12", "task.flops_per_second=1"], "goes with task.hours"),
        (["task=allocate", "task.law=LAW", "task.hours=1", "task.inference_tokens=1e9"], "no deadline can hold it"),
        (["task=allocate", "task.law=LAW", "task.flops=100"], "no shape with"),
        (["task=allocate", "task.law=LAW", "task.flops=1e10", "batch.tokens=4194304"], "less than one step"),
        (["task=allocate", "task.law=LAW", "task.arm=gqa", "task.flops=1e10"], "there is no such arm"),
        (["task=law", "task.data=broken.csv"], "task.data"),
        (["task=law", "task.data=broken.csv", "task.form=gravity"], "task.form=gravity"),
        (["task=law", "task.data=broken.csv", "task.form=accuracy"], "task.bpb=bpb: broken.csv has no such column"),
    ],
)
def test_what_they_refuse(program, tmp_path: Path, law: Path, words: list[str], message: str) -> None:
    (tmp_path / "broken.csv").write_text("params,tokens,loss\n1,2\n")
    said = program(*(word.replace("LAW", str(law)) for word in words), base=())
    assert said.code == 2 and message in said.err and len(said.err.splitlines()) <= 2, said.err


def test_the_command_of_an_allocation_trains_what_it_says(program, law: Path) -> None:
    said = program("task=allocate", f"task.law={law}", "task.flops=1e10", "batch.tokens=512")
    assert said.code == 0 and narrow(said.out), said.err
    command = said.out.splitlines()[-1]
    assert command.startswith("python run.py trainer=cpu") and "batch.tokens as typed" in said.out.replace("\n", " ")
    words = [word for word in shlex.split(command)[2:] if not word.startswith("paths.")]
    assert not any(word.startswith(("task", "stop.steps")) for word in words)
    assert sum(word.startswith("model.dim=") for word in words) == 1
    plan = program("task=plan", *words, base=())
    params = int(plan.out.split("parameters")[1].split()[0].replace(",", ""))
    assert plan.code == 0 and f"{params:,}" in said.out
    assert TRUTH.params(1e10) / 2 < params < 2 * TRUTH.params(1e10)


def test_a_deadline_is_turned_into_compute(program, law: Path) -> None:
    words = ["task.hours=2", "task.flops_per_second=1e9"]
    said = program("task=allocate", f"task.law={law}", *words, *SMALL, base=())
    assert said.code == 0 and "7.20e12 FLOPs" in said.out, said.err
    assert "python run.py" in said.out and "published (DeepSeek" in said.out
    longer = program("task=allocate", f"task.law={law}", "task.flops=1e12", "task.inference_tokens=1e10")
    assert longer.code == 0 and "with inference" in longer.out and "less" in longer.out
