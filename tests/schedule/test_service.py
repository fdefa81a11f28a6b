"""The scheduler and real processes: on time, never twice, paused at the end, caught up once, and no orphans."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nanochat.core.errors import SpecError
from nanochat.schedule.cron import trigger_of
from nanochat.schedule.service import Plan, Service
from nanochat.schedule.study import KILLED, only_one, run_study
from tests.schedule.plans import PATIENCE_SECONDS, SECOND, notes, plan_of, service_of, wait_for

ROOT = Path(__file__).resolve().parents[2]


def nightly() -> object:
    return trigger_of("0 22 * * *", timezone="UTC")


def never() -> object:
    """A trigger that does not fire while a test runs."""
    return trigger_of("0 0 29 2 *", timezone="UTC")


@contextmanager
def served(folder: Path, mode: str, *, grace: float = 30.0) -> Iterator[subprocess.Popen[str]]:
    """A scheduler in a process of its own that fires every second."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.schedule.serve", str(folder), mode, str(grace)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def gone(pids: list[str]) -> bool:
    return not any(psutil.pid_exists(int(pid)) for pid in pids)


def free(path: Path) -> bool:
    """Whether the lock of a schedule can be had."""
    with only_one(path) as lock:
        return lock is not None


def outcome(service: Service) -> str | None:
    return service.state.read()["test"].outcome


def missed(service: Service, plan: Plan) -> None:
    """As if the scheduler had last been there a long time ago."""
    service.state.see("test", rule="0 22 * * * UTC", enabled=True, now=0.0)
    assert service._due(plan)


def test_it_fires_on_time_and_never_over_itself(tmp_path: Path) -> None:
    with served(tmp_path, "quick") as process:
        wait_for(lambda: len(notes(tmp_path, "complete")) >= 2)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    order = [line.split()[0] for line in (tmp_path / "notes").read_text().splitlines()]
    assert order[:4] == ["begun", "complete"] * 2, "one at a time"
    assert said.count("begins (on time)") >= 2 and "complete; next" in said
    logs = list((tmp_path / "schedule" / "test").glob("*.log"))
    assert logs and all("stand_in.py quick" in log.read_text() for log in logs)


def test_the_end_of_a_window_pauses_and_the_next_goes_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "patient", hours=2 * SECOND, trigger=never())
    service = service_of(tmp_path, plan)
    assert service.once("test") == 130
    assert (outcome(service), len(notes(tmp_path, "paused"))) == ("paused", 1)
    assert service.once("test") == 0
    assert outcome(service) == "complete"


def test_what_ignores_the_pause_is_killed_with_all_it_started(tmp_path: Path) -> None:
    with only_one(tmp_path / "lock") as lock:
        assert lock is not None
        code = run_study(
            plan_of(tmp_path, "stubborn").command,
            log=tmp_path / "log",
            grace=0.5,
            lock=lock,
            over=lambda: bool(notes(tmp_path, "begun")),
            rest=time.sleep,
        )
    assert code == KILLED
    assert notes(tmp_path, "ignored"), "it was asked first"
    wait_for(lambda: gone([*notes(tmp_path, "begun"), *notes(tmp_path, "child")]))


def test_ctrl_c_pauses_and_the_next_scheduler_goes_on_with_the_window(tmp_path: Path) -> None:
    with served(tmp_path, "patient") as process:
        wait_for(lambda: notes(tmp_path, "begun"))
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, said
    assert "interrupted" in said and notes(tmp_path, "paused")
    plan = plan_of(tmp_path, "patient", trigger=never())
    service = service_of(tmp_path, plan)
    service.work(plan)
    assert (outcome(service), len(notes(tmp_path, "begun"))) == ("complete", 2)


@pytest.mark.parametrize("mode", ["patient", "stubborn"])
def test_a_killed_scheduler_leaves_no_study_and_none_is_started_twice(tmp_path: Path, mode: str) -> None:
    lock_file = tmp_path / "schedule" / "test.lock"
    with served(tmp_path, mode, grace=1.5) as process:
        wait_for(lambda: notes(tmp_path, "begun"))
        process.kill()
        if mode == "stubborn":
            wait_for(lambda: notes(tmp_path, "ignored"))
            assert not free(lock_file), "another scheduler waits until it is gone"
    wait_for(lambda: gone([*notes(tmp_path, "begun"), *notes(tmp_path, "child")]))
    wait_for(lambda: free(lock_file))
    assert len(notes(tmp_path, "begun")) == 1


def test_missed_windows_are_caught_up_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "quick", trigger=nightly())
    service = service_of(tmp_path, plan)
    missed(service, plan)
    service.work(plan)
    service.work(plan)
    assert len(notes(tmp_path, "complete")) == 1
    assert service.state.read()["test"].since == pytest.approx(time.time(), abs=PATIENCE_SECONDS)


def test_two_schedulers_at_once_run_a_missed_window_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "quick", trigger=nightly())
    services = [service_of(tmp_path, plan) for _ in range(2)]
    missed(services[0], plan)
    threads = [threading.Thread(target=service.work, args=[plan]) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes(tmp_path, "complete")) == 1


def test_a_refusal_is_told_and_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, "refusing", trigger=nightly())
    service = service_of(tmp_path, plan)
    missed(service, plan)
    service.work(plan)
    service.work(plan)
    assert len(notes(tmp_path, "begun")) == 1
    assert "refused: code=refuse: run 1 was made by other code; next" in capsys.readouterr().out


def test_by_hand_it_is_refused_while_it_runs(tmp_path: Path) -> None:
    service = service_of(tmp_path, plan_of(tmp_path, "quick", trigger=never()))
    with only_one(tmp_path / "schedule" / "test.lock"), pytest.raises(SpecError, match=r"task\.once=test.*already"):
        service.once("test")
    assert not notes(tmp_path, "begun")


def test_a_window_whose_gpus_stay_in_use_ends_without_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nanochat.schedule import service as module

    monkeypatch.setattr(module, "GPU_SECONDS", 0.05)
    plan = plan_of(tmp_path, "quick", trigger=never(), hours=SECOND / 5, idle_gpus=True)
    service = service_of(tmp_path, plan, busy=lambda: ["GPU 0: 1 processes, 93%"])
    assert service.once("test") == 130
    assert outcome(service) == "GPUs in use" and not notes(tmp_path, "begun")
    assert "waits for idle GPUs (GPU 0: 1 processes, 93%)" in capsys.readouterr().out
    uses = [["GPU 0: 2 processes, 50%"], []]
    assert service_of(tmp_path, plan_of(tmp_path, "quick", idle_gpus=True), busy=lambda: uses.pop(0)).once("test") == 0
