"""What people type about studies that are there: task=study, task=worker, and what is refused with -m."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nanochat.core.artifact import write_json
from nanochat.study.budget import Budget
from nanochat.study.definition import plain, read_definition
from nanochat.study.lease import Leases, machine
from nanochat.study.store import Store
from tests.runs import SMALL
from tests.study import targets
from tests.study.definitions import plans
from tests.study.studies import run_study

pytestmark = pytest.mark.slow

TUNED = ("attention=mla,gqa", "lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two complete studies, one of them with brackets in its arms' names."""
    folder = tmp_path_factory.mktemp("studies")
    run_study(folder, *TUNED, "study.name=first", target=targets.complete)
    typed = ("attention=hybrid", "attention.pattern=[a,b],[b,a]", "study.name=second")
    run_study(folder, *typed, target=targets.broken_otherwise)
    return folder


def narrow(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


def test_without_a_name_all_studies_have_a_line(program, home, tmp_path) -> None:
    none = program("task=study", base=())
    assert none.code == 0 and "no study yet" in none.out
    said = program("task=study", base=(), multirun=home / "multirun")
    assert said.code == 0 and narrow(said.out)
    lines = {line.split()[0]: line for line in said.out.splitlines()[1:]}
    assert re.search(r"6/6 +2 +complete", lines["first"])
    assert re.search(r"2/2 +2 +2 +complete", lines["second"]), "two failed"


def test_with_a_name_one_study_says_how_it_stands_and_what_to_type(program, home) -> None:
    said = program("task=study", "study.name=first", base=(), multirun=home / "multirun")
    assert said.code == 0 and narrow(said.out)
    assert "6 of 6 trials, complete" in said.out
    assert "study.trials=21" in said.out, "twenty more than there are"
    other = program("task=study", "study.name=second", base=(), multirun=home / "multirun")
    assert "pattern=[a,b]" in other.out and "pattern=[b,a]" in other.out
    assert "task.retry=failed" in other.out
    assert "more trials" not in other.out, "there is nothing to tune"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task=study", "study.name=frist"), "study.name=frist: no such study; did you mean 'first'?"),
        (("task=study", "study.name=a/b"), "study.name=a/b: no such study"),
        (("task=study", "task.retry=failed"), "study.name: is needed"),
        (("task=study", "-m"), "task=study: does nothing with -m"),
        (("task=worker", "study.name=first", "-m"), "task=worker: does nothing with -m"),
        (("task=worker",), "study.name: is needed"),
        (("task=worker", "study.name=frist"), "did you mean 'first'?"),
        (("task=worker", "study.name=first", "lr.peak=0.1"), "lr.peak: study first is defined already; leave it out"),
        (("task=worker", "study.name=first", "attention=mla"), "attention: study first is defined already"),
        (("task=worker", "study.name=first", "seed=1"), "seed: study first is defined already"),
        (("task=worker", "study.name=first", "sampler=random"), "sampler: study first is defined already"),
        (("task=worker", "study.name=first", "pruner=median"), "pruner: study first is defined already"),
        (("task=worker", "study.name=first", "study.lag=3"), "study.lag: study first is defined already"),
        (("study.name=a/b", "-m"), "study.name=a/b: must be a plain name"),
        (("study.workers=2", "attention=mla,gqa", "-m"), "study.workers=2: are jobs of a cluster"),
        (("hydra/launcher=joblib", "attention=mla,gqa", "-m"), "hydra/launcher=JoblibLauncher: starts trials"),
        (("study.on_failure=retry(x)", "-m"), "study.on_failure=retry(x): is no policy"),
    ],
)
def test_mistakes_are_refused_in_a_line_and_nothing_is_made(program, home, words, message) -> None:
    before = sorted((home / "multirun" / "studies").rglob("*"))
    said = program(*words, base=(), multirun=home / "multirun")
    assert said.code == 2
    assert message in said.err and len(said.err.splitlines()) == 1
    assert said.out == ""
    assert sorted((home / "multirun" / "studies").rglob("*")) == before


def test_open_trials_say_whether_somebody_is_on_them(program, home, tmp_path) -> None:
    folder = tmp_path / "multirun" / "studies" / "open"
    first = read_definition(home / "multirun" / "studies" / "first")
    write_json(folder / "study.json", plain(replace(first, name="open")))
    living, gone = (Leases(folder / "workers", seconds=60.0) for _ in range(2))
    definition = read_definition(folder)
    with living.held():
        for leases in (living, gone):
            store = Store(folder, definition, leases=leases, plans=plans(definition))
            store.grow(Budget(3))
            assert store.claim() is not None
        said = program("task=study", "study.name=open", base=())
    assert said.code == 0
    lines = [" ".join(part.split()) for part in said.out.split("\nopen: ")[1:]]
    assert len(lines) == 2
    assert lines[0].startswith(f"mla tune 0 · {machine()}") and "at work" in lines[0]
    assert "gone; the next worker goes on with it" in lines[1]
    assert "study open: 0 of 10 trials, 1 at work" in said.out
    after = program("task=study", base=())
    assert "stands still" in after.out


def test_a_study_in_a_database_that_is_not_named_says_so(program, home, tmp_path) -> None:
    folder = tmp_path / "multirun" / "studies" / "far"
    first = home / "multirun" / "studies" / "first"
    write_json(folder / "study.json", plain(replace(read_definition(first), name="far")))
    write_json(folder / "home.json", {"id": "far", "storage": "database"})
    for words in ((), ("study.name=far",)):
        said = program("task=study", *words, base=())
        assert said.code == 0 and "in a database; name it with study.storage" in said.out
    refused = program("task=worker", "study.name=far", base=())
    assert refused.code == 2 and "study.storage" in refused.err and "lie in a database" in refused.err


def test_a_worker_joins_extends_and_says_when_nothing_is_left(program, tmp_path) -> None:
    typed = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "study.trials=1", "study.on_failure=retry(2)", "stop.steps=2")
    first = program(*typed, "study.name=one", "study.slots=2", "-m")
    assert first.code == 0, first.err
    again = program("task=worker", "study.name=one", base=())
    assert again.code == 0 and "nothing left to run" in again.out
    more = program("task=worker", "study.name=one", "study.extend=1", base=())
    assert more.code == 0 and "nothing left to run" not in more.out
    rows = (tmp_path / "multirun" / "studies" / "one" / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 + 1


def test_zipped_arms_are_planned(program) -> None:
    typed = ("model.depth=1,2", "model.dim=32,64", "study.zip=[[model.depth, model.dim]]", "ffn=moe,swiglu")
    base = [word for word in SMALL if not word.startswith("model.dim")]
    said = program(*typed, "study.exclude=[{model.dim: 64, ffn: moe}]", "task=plan", "-m", base=base)
    assert said.code == 0, said.err
    assert "3 runs" in said.out
    assert all(
        name in said.out for name in ("depth=1, dim=32, moe", "depth=1, dim=32, swiglu", "depth=2, dim=64, swiglu")
    )
    assert narrow(said.out)
