"""`task=curves` as people use it: finished runs, a study, and a real run watched while it trains."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from nanochat.core.compose import CONF
from nanochat.run.execute import execute
from nanochat.study.lease import Leases
from nanochat.study.work import prepare
from nanochat.trainer.control import Silent
from run import main as program_main
from tests.pages import PHONE, needs_chromium, opened
from tests.runs import SMALL, run_small
from tests.study.studies import open_small

REPOSITORY = CONF.parent
PATIENCE_SECONDS = 60.0


def test_a_finished_run_is_drawn_at_80_columns(program, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    missing = program("task=curves")
    assert missing.code == 2 and "is not in" in missing.err and "task=train" in missing.err

    _, folder = run_small(tmp_path)
    said = program("task=curves")
    assert said.code == 0, said.err
    assert max(map(len, said.out.splitlines())) <= 80
    for words in ("loss, nats per token", "gradient norm", "learning rate", "logits", "averaged (0.6)", "complete"):
        assert words in said.out
    assert said.out.count("┌") == 4 and "nothing yet" not in said.out

    few = program("seed=99", "task=curves", f"task.runs=[{folder.key[:5]}]", "task.panels=[lr]", "task.x=flops")
    assert (few.code, few.out.count("┌")) == (0, 1) and "training FLOPs" in few.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.runs=[zz]"], "task.runs=zz: there is no such run in "),
        (["task.runs=[a]", "study.name=x"], "name runs or a study, not both"),
        (["study.name=x"], "study.name=x: no such study"),
        (["task.smooth=1"], "task.smooth=1"),
        (["task.x=days"], "task.x=days"),
        (["task.live=perhaps"], "task.live=perhaps"),
        (["task.runs=[ab]"], "task.runs=ab: begins the keys of 2 runs; give more of ab1 or ab2"),
        (["task.runs=[ab1]"], "nothing is to be seen of run ab1 yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_it_refuses(program, tmp_path, words, message):
    for key in ("ab1", "ab2"):
        (tmp_path / "multirun" / "runs" / key).mkdir(parents=True)
    said = program("task=curves", *words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err and len(said.err.splitlines()) <= 3


@needs_chromium
def test_a_page_of_two_runs(program, tmp_path):
    keys = [run_small(tmp_path, *words)[1].key for words in (("ffn=moe",), ("lr.peak=0.02",))]
    said = program("task=curves", f"task.runs=[{keys[0]},{keys[1]}]", "task.html=true")
    [page] = (tmp_path / "multirun" / "curves").glob("*.html")
    assert said.code == 0 and f"page: {page}" in said.out.replace("\n", "")
    text = page.read_text()
    assert "location.reload" not in text.split("</style>")[-1].split("<body>")[-1]
    with opened(page) as found:
        figures = found.page.locator(".plotly-graph-div").count()
        assert found.figures == figures >= 9
        assert found.overflow == 0
        found.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        found.page.wait_for_timeout(200)
        assert (found.errors, found.requested, found.figures, found.overflow) == ([], [], figures, 0)
        cells = found.page.locator("td").all_inner_texts()
        assert {*keys, "moe", "swiglu", "0.02", "complete"} <= set(cells)
        names = found.page.evaluate("document.querySelector('.plotly-graph-div').data.map(trace => trace.name)")
        assert f"{keys[0][:8]} valid" in names and f"{keys[0][:8]} train, averaged (0.6)" in names


class StopAt(Silent):
    """Asks to stop after some tokens."""

    seen = 0

    def progress(self, phase, *, tokens, total, loss=None, bpb=None):
        self.seen = tokens

    def stop_requested(self) -> bool:
        return self.seen >= 1024


def test_the_runs_of_a_study_are_found_those_that_are_open_too(program, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    study = open_small(tmp_path, "ffn=swiglu,mlp", "seed=1", "study.name=both")
    leases = Leases(study.folder / "workers", seconds=60)
    with leases.held():
        study, store = prepare(study, leases=leases)
        for control in (Silent(), StopAt()):
            trial = store.claim()
            assert trial is not None
            result = execute(study.runs.of(trial), settings=study.settings, control=control)
            if result["status"] == "complete":
                store.tell(trial, {**result, "valid_bpb": 1.0, "test_bpb": 1.0}, values=[1.0])
        said = program("task=curves", "study.name=both", "task.panels=[loss]", base=())
    assert said.code == 0, said.err
    assert "swiglu seed 1  " in said.out and "mlp seed 1  " in said.out
    assert "complete" in said.out and "stopped" in said.out
    tuning = program("task=curves", "study.name=both", "task.phase=tune", base=())
    assert tuning.code == 2 and "nothing is to be seen of the tuning runs of study both yet" in tuning.err


@contextlib.contextmanager
def training(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "run.py", *words], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(wanted, process: subprocess.Popen[bytes]) -> None:
    """Wait for something that must come while the process lives."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not wanted():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


@contextlib.contextmanager
def terminal(*words: str) -> Iterator[tuple[int, int]]:
    """A command in a process of its own at a terminal of 80 × 40, and our end of it. Forked: it has imported all."""
    process, ours = pty.fork()
    if process == 0:
        code = 1
        try:
            os.environ |= {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"}
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
            sys.argv = ["run.py", *words]
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = program_main()
            sys.stdout.flush()
        finally:
            os._exit(code)
    try:
        yield process, ours
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
        os.close(ours)


def shown(ours: int, *, enough) -> str:
    """What appears at the terminal until it is enough, or it ends."""
    text, end = b"", time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and not enough(text.decode(errors="replace")):
        if select.select([ours], [], [], 0.2)[0]:
            try:
                text += os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
    return text.decode(errors="replace")


@pytest.mark.slow
def test_a_run_is_watched_while_it_trains(program, tmp_path, monkeypatch):
    """At a terminal until Ctrl-C, and as a page that opens itself anew until nobody is at work any more."""
    monkeypatch.setattr("nanochat.task.curves.PAGE_SECONDS", 0.5)
    multirun = tmp_path / "multirun"
    words = (*SMALL, "stop.steps=200000", "eval.evaluations=20000", f"paths.multirun={multirun}")
    with training(*words) as run:
        until(lambda: any(path.stat().st_size > 300 for path in multirun.glob("runs/*/metrics.csv")), run)
        with terminal(*words, "task=curves", "task.every=0.2") as (watcher, ours):
            text = shown(ours, enough=lambda text: text.count("at work") > 3)
            assert text.count("at work") > 3 and "gradient norm" in text and "\x1b[" in text
            os.write(ours, b"\x03")  # Ctrl-C, as it is typed
            rest = shown(ours, enough=lambda text: False)
            assert os.waitstatus_to_exitcode(os.waitpid(watcher, 0)[1]) == 0, rest
            assert "Traceback" not in text + rest

        page, pages = tmp_path / "page.html", []

        def stop_it() -> None:
            until(page.exists, run)
            pages.append(page.read_text())
            run.kill()

        thread = threading.Thread(target=stop_it)
        thread.start()
        said = program(*words, "task=curves", "task.live=true", "task.every=0.5", f"task.html={page}")
        thread.join()
    assert said.code == 0, said.err
    assert "left off" in said.out
    reload = "setTimeout(() => location.reload(), 500)"
    assert reload in pages[0] and ">at work<" in pages[0]
    assert reload not in page.read_text() and ">left off<" in page.read_text()
