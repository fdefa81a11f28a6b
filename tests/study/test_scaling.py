"""`study=scaling` as it is typed: its sizes, its plan, what it refuses; and a small one, really trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.core.compose import parse_overrides
from nanochat.core.errors import SpecError
from nanochat.run.folder import RunFolder
from nanochat.study.answer import rate_laws, shape_for
from nanochat.study.compare import Study, open_study
from nanochat.study.design import families
from nanochat.study.grid import first_cells
from nanochat.study.join import join
from nanochat.study.work import Outcome, work_on
from nanochat.task.plan import study_table
from tests.runs import SMALL, small_config
from tests.study import targets

# What a scaling study chooses itself is left out.
BASE = tuple(word for word in SMALL if not word.startswith(("stop.", "model.")))
SIZES = (
    'study.sizes={s:["model.dim=16","model.depth=1"],m:["model.dim=32","model.depth=1"],'
    'l:["model.dim=48","model.depth=1"],x:["model.dim=64","model.depth=1"]}'
)
TINY = (
    "study=scaling",
    "lr=wsd",
    "lr.warmup=2",
    "study.steps=8",
    "study.levels=2",
    "study.breadth=3",
    "study.flops=2e10",
    SIZES,
    "study.trials=3",
    "study.name=tiny",
)

MUP = ("init=mup", "model.tied=false", "study.transfer=mup")


def open_tiny(folder: Path, *overrides: str) -> Study:
    """A small study as it is typed; `-key`: without that of TINY."""
    paths = (f"paths.multirun={folder}/multirun", f"paths.experiments={folder}/experiments")
    keys = {word.partition("=")[0].removeprefix("-") for word in overrides}
    overrides = tuple(word for word in overrides if not word.startswith("-"))
    typed = [*BASE, *paths, "study.slots=2", *(w for w in TINY if w.partition("=")[0] not in keys), *overrides]
    fixed = [override.text for override in parse_overrides(typed) if override.sweep is None]
    return open_study(small_config(folder, *fixed, base=()), typed)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("scaling")
    return folder, work_on(open_tiny(folder))


def test_rates_are_tried_then_points_run_inside_the_budget(done: tuple[Path, Outcome]) -> None:
    _, outcome = done
    definition, rows = outcome.study.definition, outcome.rows
    design = definition.design
    assert design is not None and outcome.complete
    tuned, points = ([row for row in rows if row["phase"] == phase] for phase in ("tune", "point"))
    assert len(tuned) >= 9 and len(points) >= len(first_cells(design, seeds=(1,)))
    assert all(row["status"] == "complete" for row in points)
    assert {row["seed"] for row in tuned} == {definition.tune_seed} != {row["seed"] for row in points}
    assert sum(row["flops_spent"] for row in rows) <= 2e10
    laws = rate_laws(definition, rows)
    for row in points:
        size = design.by_arm[row["arm"]]
        assert row["lr.peak"] == next(iter(laws.values())).rate(size.params)
        assert row["tokens"] == row["stop.tokens"]
        assert row["flops"] == pytest.approx(size.flops * row["tokens"])
        assert (row["params"], row["non_embedding_params"]) == (size.params, size.body)


def test_a_longer_run_goes_on_from_a_shorter_one_and_is_paid_for_so(done: tuple[Path, Outcome]) -> None:
    folder, outcome = done
    points = [row for row in outcome.rows if row["phase"] == "point"]
    keys = {row["key"]: row for row in points}
    begun = [row for row in points if row["start"]]
    assert begun
    for row in begun:
        trunk = keys[row["start"]]
        assert trunk["arm"] == row["arm"] and trunk["tokens"] < row["tokens"]
        result = RunFolder(folder / "multirun" / "runs" / row["key"]).result()
        assert result is not None and result["flops_spent"] == pytest.approx(row["flops_spent"])
        assert row["flops_spent"] < row["flops"]


def test_a_branch_scores_what_the_separate_run_scores(done: tuple[Path, Outcome], tmp_path: Path) -> None:
    """FLOPs are saved, and nothing else changes: the same weights, so the same score to the last bit."""
    _, outcome = done
    row = next(row for row in outcome.rows if row["start"])
    separate = open_tiny(tmp_path, "study.branches=false")
    spec = separate.runs.spec(
        separate.definition.arm(row["arm"]),
        params={"lr.peak": row["lr.peak"], "stop.tokens": row["stop.tokens"]},
        seed=row["seed"],
    )
    from nanochat.run.execute import execute
    from nanochat.trainer.control import Silent

    result = execute(spec, settings=separate.settings, control=Silent())
    assert result["test"]["bpb"] == row["test_bpb"]
    assert result["flops_spent"] == pytest.approx(row["flops"])


def test_the_same_command_again_has_nothing_to_do_and_a_larger_budget_goes_on(done: tuple[Path, Outcome]) -> None:
    folder, outcome = done
    again = work_on(open_tiny(folder))
    assert again.again and again.rows == outcome.rows
    more = work_on(open_tiny(folder, "study.flops=4e10"))
    assert more.complete and len(more.rows) > len(outcome.rows)
    assert sum(row["flops_spent"] for row in more.rows) <= 4e10


def test_an_answer_is_a_shape_of_the_studys_proportion(tmp_path: Path) -> None:
    definition = open_tiny(tmp_path, "study.sizes=null", "study.flops=3e12").definition
    assert all("x" in arm.scale for arm in definition.arms), "a ladder of shapes"
    (name,) = families(definition.design) if definition.design else ("",)
    shape = shape_for(definition, name, 1e6)
    assert shape.params == pytest.approx(1e6, rel=0.25)
    depth = int(shape.overrides[1].partition("=")[2])
    assert int(shape.overrides[0].partition("=")[2]) / depth == pytest.approx(32, rel=0.2), "nano's aspect"


def test_every_arm_gets_the_same_sizes_and_a_law_of_its_own(tmp_path: Path) -> None:
    study = open_tiny(tmp_path, "attention=mla,gqa", "study.flops=4e10", "study.name=two")
    design = study.definition.design
    assert design is not None
    mla, gqa = families(design).values()
    assert [size.arm.rpartition("@")[2] for size in mla] == [size.arm.rpartition("@")[2] for size in gqa]
    assert any(a.params != b.params for a, b in zip(mla, gqa, strict=True))
    assert {cell.arm.partition(" @ ")[0] for cell in first_cells(design, seeds=(1,))} == {"mla", "gqa"}


def test_an_answer_is_one_of_the_sizes_that_were_named(done: tuple[Path, Outcome]) -> None:
    definition = done[1].study.definition
    assert [arm.scale for arm in definition.arms] == ["s", "m", "l", "x"]
    assert shape_for(definition, definition.arms[0].alone, 1e9).overrides == definition.arms[3].overrides


def test_sizes_named_like_those_of_a_ladder_are_none_where_they_are_of_several_proportions(tmp_path: Path) -> None:
    shapes = ((16, 1), (16, 2), (32, 1), (64, 1))
    sizes = ",".join(f'{dim}x{depth}:["model.dim={dim}","model.depth={depth}"]' for dim, depth in shapes)
    definition = open_tiny(tmp_path, f"study.sizes={{{sizes}}}").definition
    arm = definition.arms[0]
    params = {size.params for size in families(definition.design)[arm.alone]} if definition.design else set()
    assert {shape_for(definition, arm.alone, n).params for n in (1.0, 1e4, 2e4, 1e9)} <= params


def test_the_plan_tells_levels_savings_and_what_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=80).print(study_table(open_tiny(tmp_path)))
    said = capsys.readouterr().out
    assert "tiny: its first grid" in said and "from scratch" in said and "never exceeded" in said
    assert max(map(len, said.splitlines())) <= 80
    assert not (tmp_path / "multirun" / "studies").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("study.flops=null",), "needs a budget"),
        (("study.flops=1e8",), "with 8 steps or more"),
        (("lr=cosine", "lr.warmup=2"), "no constant part followed by a decay"),
        (("lr.warmup=0.1",), "must be in steps"),
        (("lr.warmup=6",), "more than a quarter of the shortest runs"),
        (("stop.tokens=1e6",), "chosen by the study: its budget"),
        (("model.dim=64",), "chosen by the study: its sizes"),
        (("study.transfer=mup",), "takes init=mup"),
        (("study.looks=[3]", "seed=1,2,3"), "no matter of a scaling study"),
        (("study.objectives=[loss]",), "no matter of a scaling study"),
        (('study.sizes={a:["model.dim=16"],b:["model.dim=32"]}',), "3 are the least"),
        (("milestones=false",), "nothing to go on from"),
        (("grad_clip=interval(0.5,2)",), "searches lr.peak alone"),
        (("study.breadth=2",), "greater than or equal to 3"),
        (("sampler=random",), "chooses its runs itself"),
        (("study.lag=3",), "is of study.design=sequential"),
        (("study.transfer=none",), "study.transfer=none tries none"),
        ((*MUP, "study.tuned=2"), "is one size with study.transfer=mup"),
    ],
)
def test_what_makes_no_scaling_study_is_refused(tmp_path: Path, typed: tuple[str, ...], said: str) -> None:
    with pytest.raises(SpecError) as error:
        open_tiny(tmp_path, *typed)
    assert said in str(error.value)
    assert not (tmp_path / "multirun" / "studies").exists()


@pytest.mark.slow
def test_mup_carries_the_rate_of_one_size_to_all(tmp_path: Path) -> None:
    outcome = work_on(open_tiny(tmp_path, *MUP))
    tuned, points = ([row for row in outcome.rows if row["phase"] == phase] for phase in ("tune", "point"))
    assert outcome.complete and len({row["arm"] for row in tuned}) == 1 and len(tuned) >= 3
    (law,) = rate_laws(outcome.study.definition, outcome.rows).values()
    assert law.exponent == 0.0
    assert len({row["arm"] for row in points}) >= 3
    assert {row["lr.peak"] for row in points} == {law.rate(1)}
    best = min(tuned, key=lambda row: row["valid_bpb"])
    assert best["lr.peak"] / 2 <= law.rate(1) <= best["lr.peak"] * 2, "within a step of the best one tried"


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_stopped_and_counts_in_full(tmp_path: Path) -> None:
    study = open_tiny(tmp_path, "study.flops=null", "study.hours=0.012", "study.transfer=none", "-study.trials")
    outcome = work_on(study, target=targets.slow_when_small)
    points = [row for row in outcome.rows if row["phase"] == "point"]
    late = [row for row in points if row["arm"].endswith("@ s")]
    assert outcome.complete and late
    assert all(row["status"] == "timeout" and "seconds that were set aside" in row["reason"] for row in late)
    assert all(row["status"] == "complete" for row in points if not row["arm"].endswith("@ s"))


def test_a_study_answers_for_another_target_and_is_tried_in_no_other_way(tmp_path: Path) -> None:
    first = open_tiny(tmp_path)
    join(first.folder, first.definition, others=[])
    other = open_tiny(tmp_path, "study.target_flops=1e15")
    found = join(other.folder, other.definition, others=[]).design
    assert found is not None and found.answer_for == 1e15
    assert (found.least, found.sizes) == (first.definition.design.least, first.definition.design.sizes)  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(SpecError, match=r"step: there 2\.0, here 3\.0"):
        open_tiny(tmp_path, "study.step=3.0")
    with pytest.raises(SpecError, match=r"study\.hours.*was begun without"):
        open_tiny(tmp_path, "study.flops=null", "study.hours=1")
