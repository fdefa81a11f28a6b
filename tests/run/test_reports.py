"""Reports: a run's owner hears of every validation, in order and to the last bit, whatever was killed when."""

from __future__ import annotations

import contextlib

import pytest

from nanochat.run.reports import reports
from tests.run.children import Child
from tests.run.listener import Listener
from tests.runs import run_small

VALIDATING = ("eval.evaluations=4",)  # after 512, 1024, 1536 and 2048 tokens


def heard(child: Child) -> list[tuple[int, float]]:
    return [(m["tokens"], m["bpb"]) for m in child.messages() if m["kind"] == "report"]


@pytest.fixture
def whole(tmp_path) -> list[tuple[int, float]]:
    """The reports of an undisturbed run."""
    listener = Listener()
    result, folder = run_small(tmp_path / "whole", *VALIDATING, control=listener)
    assert [tokens for tokens, _ in listener.heard] == [512, 1024, 1536, 2048]
    assert listener.heard[-1][1] == result["valid"]["bpb"]
    assert reports(folder) == listener.heard
    return listener.heard


@pytest.mark.parametrize("stop", [256, 512, 768, 1536])
def test_a_stopped_run_repeats_its_reports_and_goes_on(tmp_path, whole, stop):
    first, second, third = Listener(stop), Listener(), Listener()
    assert run_small(tmp_path, *VALIDATING, control=first)[0]["status"] == "stopped"
    assert first.heard == [report for report in whole if report[0] < stop]  # one that is cut short is made up for
    assert run_small(tmp_path, *VALIDATING, control=second)[0]["status"] == "complete"
    run_small(tmp_path, *VALIDATING, control=third)
    assert second.heard == third.heard == whole


def test_a_killed_run_repeats_its_reports_over_the_pipe(tmp_path, whole):
    with Child(tmp_path, *VALIDATING, "checkpoint=0.000001") as child:
        assert (child.until(kind="report")["bpb"], child.until(kind="report")["bpb"]) == (whole[0][1], whole[1][1])
    with Child(tmp_path, *VALIDATING) as child:
        assert heard(child) == whole
    with Child(tmp_path, *VALIDATING) as child:
        assert heard(child) == whole
        assert reports(child.folder) == whole
    # The second attempt did go on, it did not start anew.
    assert child.folder.log_file.read_text().count("training from step 0 ") == 1


@pytest.mark.parametrize("stop", [1024, 10**9])
def test_whoever_waits_for_another_process_hears_it_all(tmp_path, whole, stop):
    """Whether that one ended the run or left it to be gone on with."""
    _, folder = run_small(tmp_path, *VALIDATING, control=Listener(stop))
    with contextlib.ExitStack() as stack:
        with folder.lock():
            waiter = stack.enter_context(Child(tmp_path, *VALIDATING))
            waiter.until(kind="progress", phase="wait")
        assert heard(waiter) == whole
