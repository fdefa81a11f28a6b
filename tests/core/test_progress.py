"""Progress: every item passes; silence when asked for and when the work is short."""

from __future__ import annotations

import pytest

from nanochat.core import progress
from nanochat.core.progress import track


@pytest.fixture
def impatient(monkeypatch):
    """Progress is shown at once, as after two seconds of work."""
    monkeypatch.delenv("NANOCHAT_QUIET", raising=False)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    return monkeypatch


def test_short_work_says_nothing(capsys, monkeypatch):
    monkeypatch.delenv("NANOCHAT_QUIET", raising=False)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 3600.0)
    assert list(track(range(100), total=100, label="counting")) == list(range(100))
    assert capsys.readouterr() == ("", "")


def test_work_in_a_log_says_a_line_for_every_tenth(capsys, impatient):
    assert list(track(range(1000), total=1000, label="counting")) == list(range(1000))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"counting: {10 * n}%" for n in range(1, 11)]


def test_items_may_be_worth_more_than_one(capsys, impatient):
    assert list(track("ab", total=8, size=4, label="reading")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["reading: 50%", "reading: 100%"]


def test_quiet_is_quiet(capsys, impatient):
    impatient.setenv("NANOCHAT_QUIET", "1")
    assert list(track(range(10), total=10, label="counting")) == list(range(10))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_ends_with_the_work(capsys, impatient):
    impatient.setenv("FORCE_COLOR", "1")
    impatient.setenv("TERM", "xterm")
    assert list(track(range(10), total=10, label="counting")) == list(range(10))
    first = capsys.readouterr().err
    assert "counting" in first and first.endswith("\x1b[2K")  # the bar removes itself

    def breaks():
        yield 1
        yield 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(track(breaks(), total=10, label="counting"))
    assert "\x1b[?25h" in capsys.readouterr().err  # the cursor is back
