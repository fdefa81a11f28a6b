"""What is wrong with a table, a fit or a question: each finding by a case, and none where nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from nanochat.core.errors import SpecError
from nanochat.law import checks
from nanochat.law.approaches import Approach, Bias, Comparison, Told
from nanochat.law.certificate import Certificate
from nanochat.law.isoflop import Method, approach_2

GRID = np.array([(n, n * ratio) for n in (1e6, 1e7, 1e8) for ratio in (1, 10, 100)])
N, D = GRID.T
LINE = np.geomspace(1e5, 1e9, 9)
X = np.linspace(-1, 1, 7)
SURE = Certificate(starts=9, agree=1.0, gradient=0.0, moved=0.1, bounds=(), condition=10.0)


def codes(findings: list[checks.Finding]) -> list[str]:
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    ("n", "d", "code"),
    [
        (N[:5], D[:5], "few_points"),
        (np.full(9, 1e6), LINE, "few_parameters"),
        (LINE, np.full(9, 1e9), "few_tokens"),
        (LINE, 1e18 / LINE, "one_budget"),
        (LINE, 20 * LINE, "confounded"),
    ],
)
def test_places_that_tell_nothing_are_refused(n: np.ndarray, d: np.ndarray, code: str) -> None:
    found = checks.of_places(n, d)
    assert code in codes(found) and all(one.severity == "refuse" and one.remedy for one in found)
    with pytest.raises(SpecError, match=r"task\.data=runs\.csv"):
        checks.insist(found, key="task.data", value="runs.csv")


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert checks.of_places(N, D) == []
    assert checks.of_rows({"tuning": 40}, used=9) == []
    assert checks.of_warm_up(0.02 * D, D) == []
    assert checks.of_target(6 * N * D, at=10 * np.max(6 * N * D)) == []
    assert checks.of_fit(SURE, intervals={"alpha": Told(0.34, 0.31, 0.37)}) == []
    checks.insist([], key="task.data", value="runs.csv")


def test_rows_left_out_may_say_something() -> None:
    assert codes(checks.of_rows({"duplicate": 2}, used=9)) == ["duplicates"]
    assert codes(checks.of_rows({"diverged": 2, "failed": 2}, used=9)) == ["failures"]


def test_a_long_warm_up_warns() -> None:
    (found,) = checks.of_warm_up(np.full(9, 3e6), D)
    assert found.code == "warm_up" and "300%" in found.text and "in 3 runs" in found.text


def test_budgets_are_told_by_their_reason() -> None:
    n = np.geomspace(1e6, 1e8, 7)
    losses = {"isoflop_upside_down": 3 - X**2, "isoflop_edge": 2 + (X - 2) ** 2}
    for code, loss in losses.items():
        found = checks.of_isoflop(approach_2(n, np.full(7, 1e18), loss, method="parabola"))
        assert codes(found) == ["isoflop_budgets", code] and found[0].severity == "refuse"
    three = [np.tile(n, 3), np.repeat([1e17, 1e18, 1e19], 7), np.concatenate([2 + X**2, 2 + X**2, 2 + (X - 2) ** 2])]
    assert codes(checks.of_isoflop(approach_2(*three))) == ["isoflop_edge"]


def test_further_than_the_runs_reach_warns() -> None:
    c = np.array([1e18, 1e20])
    assert checks.of_target(c, at=1e22) == []
    (found,) = checks.of_target(c, at=1.1e22)
    assert found.code == "extrapolation" and found.severity == "warn"


def test_numbers_that_are_not_identified_are_named() -> None:
    poor = Certificate(starts=9, agree=0.1, gradient=0.0, moved=0.0, bounds=("E",), condition=1e9, ridge=("A", "E"))
    found = checks.of_fit(poor, intervals={"beta": Told(0.3, 0.1, 0.5), "alpha": Told(0.3, 0.28, 0.32)})
    assert codes(found) == ["starts", "bound", "unidentified", "unidentified"]
    assert "E " in found[1].text and found[2].text.startswith("A ") and found[3].text.startswith("beta ")


def test_methods_that_disagree_warn_with_the_bias_of_the_method() -> None:
    def approach(name: str, value: float) -> Approach:
        return Approach(name, Told(value, value - 0.02, value + 0.02), None, None)

    names = ("approach 1", "approach 2, akima", "approach 2, parabola")
    others = tuple(approach(name, value) for name, value in zip(names, (0.50, 0.51, 0.56), strict=True))
    biases: dict[Method, Bias] = {"akima": Bias(0.001, 0.0), "parabola": Bias(0.05, -0.2)}
    found = checks.of_comparison(Comparison(1e20, (*others, approach("approach 3", 0.5)), biases))
    assert codes(found) == ["disagreement"]
    assert "parabola has a = 0.560" in found[0].text and "+0.050 off" in found[0].text
