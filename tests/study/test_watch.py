"""What a person sees of a running study: at most 80 columns, whatever the arms are called."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nanochat.core import progress
from nanochat.study import watch as module
from nanochat.study.trial import Trial
from nanochat.study.watch import Running, Watch, clock


def trial(arm: str, *, number: int = 0, score: float | None = None) -> Trial:
    result = {"status": "complete" if score else "failed", "reason": "it broke"} if score is not None else None
    return Trial(
        id=0, place=0, phase="tune", arm=arm, number=number, seed=0, params={"lr.peak": 0.00123456, "model.depth": 3},
        owner="", lost=0, tries=0, micro=None, flops=None, result=result, values=(score,) if score else None,
    )  # fmt: skip


def message(tokens: int, *, bpb: float | None = None, phase: str = "train") -> dict:
    return {"kind": "progress", "phase": phase, "tokens": tokens, "total": 100, "loss": 1.0, "bpb": bpb}


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def watch(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(module, "quiet", lambda: False)
    return Watch("a-study", ["cpu 0", "cpu 1"], console=Console(file=shown, width=80, highlight=False))


def drawn(watch: Watch, shown: io.StringIO, *, now: float) -> list[str]:
    watch.console.print(watch.view(now))
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("name", ["mla", "attention, with, a, very, long, name, that, no, column, holds" * 2])
def test_the_live_view_fits_on_80_columns(watch: Watch, shown: io.StringIO, name: str) -> None:
    watch.sync([trial(name, number=i, score=1.0 + i) for i in range(3)], 12)
    watch.started(0, trial(name, number=3))
    watch.progress(0, message(30, bpb=1.23456, phase="train"))
    lines = drawn(watch, shown, now=watch.running[0].began + 6)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "30%" in text and "1.2346" in text and "3 of 12 trials" in text and name[:10] in text


def test_time_left_follows_from_the_pace_since_a_resumed_run_began() -> None:
    run = Running(trial("mla"), began=0.0, share=0.75, first_share=0.5)
    assert run.seconds_left(10.0) == pytest.approx(10.0)
    assert Running(trial("mla"), began=0.0).seconds_left(10.0) is None


def test_failures_are_told_at_once_with_their_reason(watch: Watch, shown: io.StringIO) -> None:
    watch.finished(trial("mla"), {"status": "diverged", "reason": "loss is nan"})
    assert "mla tune 0 diverged: loss is nan" in shown.getvalue()


def test_without_a_terminal_every_finished_trial_is_a_line(watch: Watch, shown: io.StringIO) -> None:
    with watch:
        assert watch.live is None
        watch.finished(trial("mla"), {"status": "complete", "reason": "", "valid_bpb": 1.23456})
        watch.refresh()
    assert shown.getvalue().count("\n") == 1
    assert "1.2346" in shown.getvalue()


def test_on_a_terminal_the_live_view_is_drawn(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "quiet", lambda: False)
    with Watch(
        "a-study", ["cpu"], console=Console(file=shown, width=80, force_terminal=True, highlight=False)
    ) as watch:
        watch.sync([], 4)
        watch.refresh()
    assert "0 of 4 trials" in shown.getvalue()


def test_quiet_says_nothing(watch: Watch, shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "quiet", progress.quiet)
    watch.finished(trial("mla"), {"status": "diverged", "reason": "loss is nan"})
    assert shown.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "0:03"), (123, "2:03"), (3723, "1:02:03")])
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
