"""What people read when something is wrong."""

from __future__ import annotations

import pytest

from nanochat.core.errors import MachineError, Problem, SpecError, alternatives, join_key, nearest, spec_error


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Problem(key="a.b", value=3, rule="must be even", remedy="try 2 or 4"), "a.b=3: must be even; try 2 or 4"),
        (Problem(key="a.b", value=3, rule="must be even"), "a.b=3: must be even"),
        (Problem(key="a.b", rule="is missing"), "a.b: is missing"),
        (Problem(key="", rule="is missing"), "is missing"),
        (Problem(key="n", value=0, rule="must be positive"), "n=0: must be positive"),
        (Problem(key="n", value="", rule="must not be empty"), "n=: must not be empty"),
        (Problem(key="n", value=False, rule="must be true"), "n=False: must be true"),
    ],
)
def test_a_problem_is_one_line(problem, said):
    assert str(problem) == said


def test_a_long_value_is_cut():
    line = str(Problem(key="a", value="x" * 10_000, rule="is too long"))
    assert len(line) < 250
    assert line.endswith("…: is too long")


def test_problems_move_under_a_key_together():
    error = SpecError([Problem(key="kv_heads", value=3, rule="is odd"), Problem(key="", rule="is old")])
    moved = error.under("attention")
    assert str(moved) == "attention.kv_heads=3: is odd\nattention: is old"
    assert str(error) == "kv_heads=3: is odd\nis old"


def test_keys_join():
    assert join_key("a", "b") == "a.b"
    assert join_key("a", "") == join_key("", "a") == "a"


def test_the_nearest_name_or_all_of_them():
    assert nearest("peek", ["peak", "warmup"]) == "did you mean 'peak'?"
    assert nearest("zzz", ["peak", "warmup"]) == "try peak or warmup"
    assert nearest("zzz", []) == ""


def test_alternatives_read_as_a_sentence():
    assert alternatives([1, 2, 4, 8]) == "1, 2, 4 or 8"
    assert alternatives([1]) == "1"
    assert alternatives([]) == ""
    assert alternatives(range(100), limit=3) == "0, 1, 2, …"


def test_exit_codes_tell_whose_mistake_it_was():
    assert spec_error("a", 1, "b").exit_code == 2
    assert MachineError("full").exit_code == 1
    assert isinstance(spec_error("a", 1, "b"), ValueError)
