"""Each word of a verdict in the situation that calls for it."""

from __future__ import annotations

import pytest

from nanochat.report import words
from nanochat.report.words import listed
from nanochat.study.reading import Reading
from tests.report.studies import CLEAR, framed

CLOSE = {"mla": (1.500, 1.520, 1.510), "gqa": (1.5001, 1.5201, 1.5102)}
LOOSE = {"mla": (1.5, 1.9, 1.6), "gqa": (1.9, 1.5, 1.7)}
GROWING = {
    **{f"mla @ {at}": scores for at, scores in {"small": (2.0, 2.01, 2.02), "large": (1.5, 1.51, 1.52)}.items()},
    **{f"gqa @ {at}": scores for at, scores in {"small": (2.1, 2.111, 2.119), "large": (1.9, 1.912, 1.919)}.items()},
}
TURNING = {**GROWING, "gqa @ small": (1.9, 1.911, 1.919)}


@pytest.mark.parametrize(
    ("ends", "reading", "said"),
    [
        (CLEAR, Reading(), "mla is best, every other arm is worse: mla scores 1.5100 bits"),
        (CLOSE, Reading(rope=0.002), "Lowest mean: mla scores 1.5100 bits per byte on the test documents"),
        (CLOSE, Reading(rope=0.002), "Equivalent to it: gqa."),
        (LOOSE, Reading(), "Undecided against it: gqa ("),
        (CLEAR, Reading(baseline="gqa"), "Better: mla by 0.5033."),
        (CLEAR, Reading(baseline="mla"), "Worse: gqa by 0.5033."),
        (CLOSE, Reading(baseline="mla", rope=0.002), "Equivalent to it: gqa."),
        (LOOSE, Reading(baseline="mla"), "Undecided against it: gqa ("),
        ({**CLEAR, "alibi": ("oom", "oom", "oom")}, Reading(), "Without a result: alibi."),
        (GROWING, Reading(), "Across sizes the difference of mla to gqa grows with the size of the model (-0.3003 ["),
        (TURNING, Reading(), "the difference of mla to gqa turns: one is better at the smallest size"),
        ({"mla": (1.5, 1.6, 1.7)}, Reading(), "there is nothing to compare it with"),
    ],
)
def test_the_word_fits(ends, reading, said):
    assert said in " ".join(words.verdict(framed(ends, reading=reading)))


def test_looks_widen_what_power_is_read_at():
    once, often = (framed(CLEAR, reading=reading).scales[0].noise for reading in (Reading(), Reading(looks=(3,))))
    assert once is not None and often is not None and once.alpha == pytest.approx(often.alpha)
    four = {arm: (*scores, 1.6) for arm, scores in CLEAR.items()}
    early, late = (framed(four, reading=Reading(looks=looks)).scales[0].noise for looks in ((3, 4), (4,)))
    assert early is not None and late is not None and early.smallest is not None and late.smallest is not None
    assert early.smallest > late.smallest


def test_a_baseline_without_a_result_leads_nothing():
    analysis = framed({"mla": ("oom",) * 3, "gqa": (1.5, 1.6, 1.7)}, reading=Reading(baseline="mla"))
    assert analysis.scales[0].leader is None
    assert words.verdict(analysis) == ["No verdict, mla has no result to hold gqa against."]


def test_an_arm_that_shares_no_seed_is_not_the_leader():
    ends = {"late": ("oom", "oom", "oom", 1.0), "mla": (1.5, 1.52, 1.51, "oom"), "gqa": (2.0, 2.02, 2.01, "oom")}
    analysis = framed(ends)
    assert analysis.scales[0].leader is not None and analysis.scales[0].leader.name == "mla"
    assert "Undecided against it: late (they share no seed)." in words.verdict(analysis)[0]


@pytest.mark.parametrize(("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), ("abc", "a, b and c")])
def test_lists_read_as_sentences(names, text):
    assert listed(names) == text
