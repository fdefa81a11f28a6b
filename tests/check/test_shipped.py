"""Nothing that the platform ships is suspected of a mistake."""

from __future__ import annotations

import pytest

from nanochat.core.compose import groups
from nanochat.core.errors import SpecError
from tests.check.checks import check, failures
from tests.runs import small

GROUPS = groups()
OTHERS = [
    (group, name)
    for group in ("ffn", "norm", "position", "init", "optimizer", "lr", "objective")
    for name in GROUPS[group]
]


@pytest.mark.parametrize("attention", GROUPS["attention"])
@pytest.mark.parametrize("position", ["rope", "none"])
def test_every_attention_passes(tmp_path, attention, position):
    assert failures(check(tmp_path, f"attention={attention}", f"position={position}")) == {}


@pytest.mark.parametrize(("group", "name"), OTHERS)
def test_every_other_option_passes(tmp_path, group, name):
    overrides = [f"{group}={name}", "stop.steps=400"]  # the rates are meant for runs of some length
    try:
        small(tmp_path, *overrides)
    except SpecError:
        overrides.append("model.tied=false")
    assert failures(check(tmp_path, *overrides)) == {}


@pytest.mark.parametrize(
    "overrides",
    [
        ("norm.placement=post",),
        ("norm.placement=sandwich", "norm.final=false"),
        ("model.dropout=0.1", "batch.isolate=true"),
        ("model.tied=false", "model.soft_cap=15", "model.residual_scalars=true"),
        ("objective=mtp", "ffn=moe"),
        ("context=1",),
        ("context=2",),
    ],
    ids=" ".join,
)
def test_settings_that_change_what_is_checked_pass(tmp_path, overrides):
    assert failures(check(tmp_path, *overrides)) == {}
