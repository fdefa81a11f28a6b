"""Arms made equal in size: the solver against brute force, and real arms against their built models."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import dump
from nanochat.report.planned import matches
from nanochat.run.spec import run_spec
from nanochat.study.axes import Arm
from nanochat.study.conditions import lookup
from nanochat.study.match import COSTS, MatchSpec, match
from nanochat.study.matched import Matched
from nanochat.study.solve import solve
from tests.runs import SMALL
from tests.study.studies import open_small

MLA, GQA = Arm("mla", ("attention=mla",), ()), Arm("gqa", ("attention=gqa",), ())
MOE = Arm("moe", ("ffn=moe",), ())
ARMS = ("study=ablation", "attention=mla,gqa", "study.seeds=3")


def spec(by: str, adjust: str | tuple[str, ...] | None, tolerance: float = 1.0) -> MatchSpec:
    return MatchSpec(by=by, adjust=adjust, tolerance=tolerance)  # type: ignore[arg-type]


def built(arm: Arm, by: str, *more: str) -> float:
    """What the run that is trained costs."""
    return COSTS[by](run_spec(compose([*SMALL, *arm.overrides, *more])).resolve())


@given(st.data())
def test_the_nearest_number_is_found_as_by_trying_all(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=60))
    costs = {n: float(sum(steps[:n])) for n in range(1, len(steps) + 1)}
    refused = data.draw(st.sets(st.sampled_from(sorted(costs)), max_size=len(costs) - 1))
    costs = {n: cost for n, cost in costs.items() if n not in refused}
    start, target = data.draw(st.sampled_from(sorted(costs))), data.draw(st.floats(-5, 300))
    number, reached = solve(costs.get, start=start, target=target)
    assert costs[number] == reached
    assert abs(reached - target) == min(abs(cost - target) for cost in costs.values())


@given(st.integers(1, 3000), st.integers(1, 250), st.floats(1, 3e6))
def test_it_is_found_far_away_among_regular_gaps(start: int, gap: int, target: float) -> None:
    number, _ = solve(lambda n: 7.0 * n if n % gap == 0 else None, start=start * gap, target=target)
    nearest = max(1, round(target / 7 / gap)) * gap
    assert abs(7 * number - target) <= abs(7 * nearest - target)


@pytest.mark.parametrize(
    ("by", "arm", "key"),
    [
        ("params", GQA, "model.dim"),
        ("active_params", MOE, "ffn.expert.hidden"),
        ("flops", GQA, "ffn.hidden"),
        ("flops", GQA, "model.depth"),
        ("state_bytes", GQA, "model.depth"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.name,
)
def test_what_is_reached_is_what_is_trained_and_nothing_is_nearer(by: str, arm: Arm, key: str) -> None:
    arms, [how] = match([MLA, arm], spec(by, key), base=SMALL, to=MLA)
    assert arms[0] is MLA and how.target == built(MLA, by)
    assert how.reached == built(arms[1], by)
    here = lookup(dump(run_spec(compose([*SMALL, *arms[1].overrides])).resolve()), key)
    for value in (max(1, here - 8), max(1, here - 1), here + 1, here + 8):
        try:
            other = built(arm, by, f"{key}={value}")
        except SpecError:
            continue
        assert abs(other - how.target) >= abs(how.reached - how.target)


def test_decoding_state_is_matched_by_a_rank() -> None:
    arms, [how] = match([GQA, MLA], spec("state_bytes", "attention.kv_lora_rank", 0.0), base=SMALL, to=GQA)
    assert how.mismatch == 0 and how.reached == built(arms[1], "state_bytes")
    assert arms[1].overrides[-1].startswith("attention.kv_lora_rank=")


def test_the_order_of_arms_stays_where_the_baseline_is_not_first() -> None:
    arms, found = match([GQA, MOE, MLA], spec("params", ("ffn.hidden", "ffn.expert.hidden")), base=SMALL, to=MLA)
    assert [arm.name for arm in arms] == ["gqa", "moe", "mla"] and arms[2] is MLA
    assert [(how.arm, how.to, how.key) for how in found] == [
        ("gqa", "mla", "ffn.hidden"),
        ("moe", "mla", "ffn.expert.hidden"),
    ]


@pytest.mark.parametrize(
    ("arm", "how", "words"),
    [
        (GQA, spec("params", "model.depth", 0.01), "model.depth=2"),
        (GQA, spec("params", None, 0.01), "name a key that the arm has"),
        (GQA, spec("params", "attention.kv_lora_rank", 0.01), "name a key that the arm has"),
        (Arm("own", ("attention=gqa", "ffn.hidden=64"), ()), spec("params", "ffn.hidden", 0.01), "sets ffn.hidden"),
        (GQA, spec("params", "lr.peak", 0.01), "must be a whole number; arm 'gqa' has 0.003"),
    ],
)
def test_what_cannot_be_matched_is_refused(arm: Arm, how: MatchSpec, words: str) -> None:
    target = built(MLA, "params")
    if words == "model.depth=2":  # the baseline is smaller than any depth brings the other near
        how, arm = spec("params", "model.depth", 0.01), Arm("wide", ("attention=gqa", "ffn.hidden=300"), ())
        words = f"model.depth=1 brings arm 'wide' nearest: {built(arm, 'params', 'model.depth=1'):,.0f} params"
        assert built(arm, "params", "model.depth=1") > target
    with pytest.raises(SpecError) as error:
        match([MLA, arm], how, base=SMALL, to=MLA)
    assert words in str(error.value) and str(error.value).startswith("study.match")


def test_the_tolerance_that_a_refusal_names_is_enough() -> None:
    with pytest.raises(SpecError) as error:
        match([MLA, GQA], spec("params", "model.depth", 0.0), base=SMALL, to=MLA)
    named = float(str(error.value).partition("use study.match.tolerance=")[2].partition(",")[0])
    _, [how] = match([MLA, GQA], spec("params", "model.depth", named), base=SMALL, to=MLA)
    assert named - 0.002 < abs(how.mismatch) <= named


@pytest.mark.parametrize(
    "words",
    [
        "model.depth=int(interval(2, 3))",  # begins at the depth that was matched
        "ffn=choice(swiglu, moe)",  # so does this one
        "ffn.hidden=int(interval(64, 128))",
    ],
)
def test_tuning_that_undoes_the_match_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(SpecError, match=r"study\.match\.by=params: tuning undoes the match"):
        open_small(tmp_path, *ARMS, words)
    assert open_small(tmp_path, *ARMS, "study.match.by=none", words).definition.matched == ()


def test_an_axis_of_the_baseline_alone_cannot_undo_it_either(tmp_path: Path) -> None:
    arms = (
        "+study.arms.a=['attention=mla','attention.kv_lora_rank=int(interval(4,32))']",
        "+study.arms.b=['attention=gqa']",
    )
    with pytest.raises(SpecError, match="tuning undoes the match: arm 'a'"):
        open_small(tmp_path, "study=ablation", *arms)


def test_an_axis_that_only_some_choices_have_is_tried_under_those(tmp_path: Path) -> None:
    typed = ("study=ablation", "ffn=swiglu,geglu", "attention=choice(gqa, mla)", "study.match.tolerance=0.2")
    with pytest.raises(SpecError, match=r"attention=mla, attention\.kv_lora_rank=400"):
        open_small(tmp_path, *typed, "attention.kv_lora_rank=int(interval(8, 400))")


def test_one_arm_alone_is_matched_to_nothing(tmp_path: Path) -> None:
    study = open_small(tmp_path, "study=ablation", "model.depth=int(interval(1, 3))")
    assert study.definition.matched == ()


def test_an_arm_that_makes_no_run_is_told_of_as_such(tmp_path: Path) -> None:
    arms = ("+study.arms.mla=['attention=mla']", "+study.arms.gqa=['attention.kv_lora_rank=8']")
    with pytest.raises(SpecError, match="so says arm 'gqa'"):
        open_small(tmp_path, "study=ablation", *arms)


def test_people_read_how_well_each_scale_is_matched(tmp_path: Path) -> None:
    how = {"by": "params", "key": "ffn.hidden", "value": 171, "target": 105_856.0, "reached": 105_000.0}
    found = [Matched(arm=f"{arm} @ {scale}", to=f"mla @ {scale}", **how) for scale in ("nano", "micro") for arm in "ab"]
    lines = matches(found)
    assert lines[0] == (
        "matched in params to mla @ nano, 106K: a @ nano ffn.hidden=171 -0.81%; b @ nano ffn.hidden=171 -0.81%"
    )
    assert len(lines) == 2 and matches([]) == []
    console = Console(width=80, file=io.StringIO())
    console.print(lines[0])
    assert max(map(len, console.file.getvalue().splitlines())) <= 80  # type: ignore[attr-defined]
