"""The slopes and the verdict of a coordinate check, from sizes made up to have known ones."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.report.coordinates import Coordinates
from nanochat.task.coordinate_check import with_heads

WIDTHS = (64, 128, 512)


def coordinates(**sizes: np.ndarray) -> Coordinates:
    named = {name.replace("_", " "): values for name, values in sizes.items()}
    return Coordinates(name="made up", parts={}, rate=1e-3, widths=WIDTHS, tolerance=0.2, sizes=named)


def powers(*exponents: float, seeds: int = 2) -> np.ndarray:
    """Sizes that follow width^b, one b for each number of updates, with another factor for each seed."""
    one = np.array([[float(width) ** b for width in WIDTHS] for b in exponents])
    return one[:, :, None] * (1 + np.arange(seeds))


@given(b=st.floats(-2, 2), factor=st.floats(1e-3, 1e3))
def test_a_power_of_the_width_has_its_exponent(b, factor):
    assert coordinates(logits=factor * powers(b, b)).slope("logits", 1) == pytest.approx(b, abs=1e-6)


@given(exponents=st.lists(st.floats(-1, 1), min_size=2, max_size=5))
def test_the_start_is_not_judged_and_every_update_is(exponents):
    found = coordinates(logits=powers(*exponents))
    worst = max(map(abs, exponents[1:]))
    update, slope = found.steepest("logits")
    assert abs(slope) == pytest.approx(worst, abs=1e-6)
    assert abs(exponents[update]) == pytest.approx(worst, abs=1e-6)
    if abs(worst - 0.2) > 1e-6:
        assert found.holds == (worst < 0.2)


def test_the_verdict_names_what_grows_first():
    found = coordinates(embedding=powers(0, -0.5), logits=powers(0, 0.62), block_0_ffn=powers(0, 0.1))
    assert found.verdict == (
        "µP does not hold: logits grows like width^0.62 after 1 update, "
        "embedding shrinks like width^-0.50 after 1 update"
    )
    assert [found.word(name) for name in found.sizes] == ["shrinks", "grows", "flat"]
    assert coordinates(logits=powers(3, 0.1, -0.15)).verdict == (
        "µP holds: no activation follows the width beyond ±0.2 (steepest: logits, width^-0.15 after 2 updates)"
    )


def test_what_is_zero_everywhere_has_no_slope_and_what_is_not_a_number_fails():
    zero = coordinates(logits=np.stack([np.zeros((3, 2)), np.ones((3, 2))]))
    assert zero.slope("logits", 0) is None and zero.holds
    for bad in (math.nan, math.inf, 0.0):
        sizes = powers(0, 0)
        sizes[1, 2, 0] = bad
        found = coordinates(logits=sizes)
        assert found.word("logits") == "grows" and not found.holds
        json.dumps(found.plain(), allow_nan=False)


def test_heads_are_kept_in_every_part_and_nothing_else_is():
    described = {"heads": None, "head_dim": None, "parts": {"a": {"heads": None}, "b": {"heads": 2}}, "p": ["a", "b"]}
    resolved = {"heads": 4, "head_dim": 16, "parts": {"a": {"heads": 8}, "b": {"heads": 2}}, "p": ["a", "b"]}
    assert with_heads(described, resolved) == {
        "heads": 4,
        "head_dim": None,
        "parts": {"a": {"heads": 8}, "b": {"heads": 2}},
        "p": ["a", "b"],
    }
