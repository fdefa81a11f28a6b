"""Full disks, folders that cannot be written, lock holders that stop, clocks that jump, SIGTERM: said and survived."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nanochat.core.artifact import locked
from nanochat.core.errors import MachineError
from nanochat.run import child
from tests.runs import run_small
from tests.study import targets
from tests.study.studies import command, lasting, open_small, run_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TUNED = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=3", "study.lag=2", "study.name=s")
REAL = (*TUNED, "stop.steps=80", "checkpoint=0.05")
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list:
    """The rows of the same study, undisturbed."""
    return lasting(list(run_study(tmp_path_factory.mktemp("calm"), *REAL, target=child.main).rows))


@contextlib.contextmanager
def mounted(folder: Path, *, size: str) -> Iterator[None]:
    """A small disk of its own."""
    folder.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def worker(folder: Path, *, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """The study in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "run.py", *command(folder, *REAL), "-m"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NANOCHAT_QUIET": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def begun(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run trains."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not list((folder / "multirun" / "runs").glob("*/state.ckpt")):
        assert time.monotonic() < end and process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.02)


def test_a_full_disk_is_said_in_a_line_and_costs_nothing(tmp_path: Path, calm: list) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, size="1m"):
        with pytest.raises(MachineError, match=r"cannot be written \(No space left on device\)") as error:
            run_study(disk, *REAL, target=child.main)
        assert "\n" not in str(error.value)
        assert list((disk / "multirun" / "runs").glob("*/metrics.csv")), "in the middle of the study"
        remounted(disk, "size=200m")
        outcome = run_study(disk, *REAL, target=child.main)
        assert outcome.complete and lasting(list(outcome.rows)) == calm


@pytest.mark.parametrize("kilobytes", [40, 80, 140])
def test_a_full_disk_is_no_failure_of_the_run(tmp_path: Path, kilobytes: int) -> None:
    """Room for the texts alone, for the record, for part of the weights: whatever does not fit, it is the machine's."""
    folder = tmp_path / "disk"
    with mounted(folder, size=f"{kilobytes}k"):
        with pytest.raises(MachineError, match=r"cannot be written .*No space left on device"):
            run_small(folder)
        remounted(folder, "size=16m")
        assert run_small(folder)[0]["status"] == "complete"


def test_a_folder_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, size="20m"):
        open_small(disk, *TUNED)
        remounted(disk, "ro")
        with pytest.raises(MachineError, match=r"cannot be written \(Read-only file system\)") as error:
            run_study(disk, *TUNED, target=targets.complete)
        assert "\n" not in str(error.value)
        remounted(disk, "rw")


def test_sigterm_saves_every_run_and_the_same_command_goes_on(tmp_path: Path, calm: list) -> None:
    process = worker(tmp_path)
    begun(tmp_path, process)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130 and "the same command continues" in out and "Traceback" not in out, out
    assert psutil.wait_procs(started, timeout=PATIENCE_SECONDS)[1] == [], "orphans"
    outcome = run_study(tmp_path, *REAL, target=child.main)
    assert not outcome.again and lasting(list(outcome.rows)) == calm


def test_a_lock_holder_that_was_stopped_and_killed_holds_nothing(tmp_path: Path) -> None:
    folder = open_small(tmp_path, *TUNED).folder
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder / "lock")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with locked(folder / "lock", wait=False) as ours:
        assert not ours
    holder.send_signal(signal.SIGSTOP)
    killer = threading.Timer(1.0, holder.kill)
    killer.start()
    assert run_study(tmp_path, *TUNED, target=targets.complete).complete
    killer.join()
    holder.wait()


HOLD = """
import sys, time
from pathlib import Path
from nanochat.core.artifact import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


# Moves what the C library says of the wall clock by the seconds in a file; the monotonic clock goes on.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long offset(void) {
  long seconds = 0; FILE *file = fopen(getenv("CLOCK_OFFSET"), "r");
  if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
  return seconds;
}
int clock_gettime(clockid_t id, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(id, now);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) now->tv_sec += offset();
  return code;
}
time_t time(time_t *out) {
  struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, calm: list) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build a clock with")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    offset.write_text("0")
    moved = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
    offset.write_text("86400")
    said = subprocess.check_output(
        [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **moved}
    )
    assert float(said) - time.time() > 80000, "the clock moves"
    process = worker(tmp_path, environment=moved)
    begun(tmp_path, process)
    for jump in (3 * 3600, -5 * 3600, 40 * 86400, -86400):
        offset.write_text(str(jump))
        time.sleep(0.5)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0 and "tried again" not in out, out
    outcome = run_study(tmp_path, *REAL, target=targets.refusing)
    assert outcome.again and lasting(list(outcome.rows)) == calm
