"""How texts vary, where the answer is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.eval.generation import diversity, loops


def test_one_word_over_and_over_has_nothing_new():
    found = diversity(["da " * 100])
    assert found["distinct_2"] == pytest.approx(1 / 99)
    assert found["repeated"] == pytest.approx(1 - 3 / 285), "pieces begin at d, a or a space"
    assert found["compression"] > 10 and found["loops"] == 1


def test_words_that_differ_repeat_nothing():
    found = diversity([" ".join(str(i) for i in range(100)), "a b c d a b c d"])
    assert found["distinct_2"] == pytest.approx((1 + 4 / 7) / 2)
    assert found["repeated"] == 0, "no piece of 16 characters comes back"
    assert found["loops"] == 0


LOOPS = {
    "": False,
    "return x" + " " * 8: False,
    "a" * 31: False,
    "a" * 32: True,
    "x " + "ab" * 16: True,
    "abc" * 20 + "d": False,
    "one long sentence, again. " * 2: False,
    "one long sentence, again. " * 3: True,
}


@pytest.mark.parametrize(("text", "ends"), LOOPS.items())
def test_a_loop_is_an_end_three_times_in_a_row_and_for_long(text, ends):
    assert loops(text) == ends


def test_no_text_has_no_diversity():
    with pytest.raises(ValueError, match="no text"):
        diversity([])


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_measures_stay_in_their_bounds(texts):
    found = diversity(texts)
    assert 0 <= found["distinct_2"] <= 1 and 0 <= found["repeated"] < 1 and 0 <= found["loops"] <= 1
    assert found["compression"] > 0
