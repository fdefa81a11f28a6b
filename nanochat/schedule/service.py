"""The scheduler: APScheduler fires, each schedule's work is done in a thread of its own, a signal pauses all of it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from nanochat.core.errors import MachineError, SpecError, spec_error
from nanochat.schedule import gpus
from nanochat.schedule.cron import next_time
from nanochat.schedule.spec import ScheduleSpec
from nanochat.schedule.state import Entry, State
from nanochat.schedule.study import KILLED, PAUSED, REFUSED, TERMINATED, last_line, only_one, run_study
from nanochat.schedule.window import INTERRUPTED, Window, due, full

WAKE_SECONDS = 20.0
"""The clock that waits are measured by stands still while a machine sleeps: look at the other one this often."""

LOCK_SECONDS = 1.0
GPU_SECONDS = 15.0


@dataclass(frozen=True)
class Plan:
    """A schedule, when it fires, and the command of its study."""

    name: str
    spec: ScheduleSpec
    trigger: Any
    command: Sequence[str]


class Service:
    """Carries out schedules. Everything it writes is under `folder`: state, locks, and a log for each window.

    busy: what the GPUs are busy with, see `gpus.busy`.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        *,
        folder: Path,
        console: Console | None = None,
        busy: Callable[[], Sequence[str]] = gpus.busy,
    ) -> None:
        self.plans = plans
        self.folder = folder
        self.console = console or Console(highlight=False)
        self.busy = busy
        self.state = State(folder / "state.json")
        self.stop = threading.Event()
        self.signal = 0

    def run(self) -> int:
        """Serve until a signal comes; returns the exit code: 130 after Ctrl-C, 0 after SIGTERM."""
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of each fire that meets a running study
        for plan in self.plans.values():
            self._see(plan)
        plans = [plan for plan in self.plans.values() if plan.spec.enabled]
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(len(plans) or 1)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        for plan in plans:  # each looks at once whether there is something to catch up or to go on with
            first = datetime.now(plan.trigger.timezone)
            scheduler.add_job(self.work, plan.trigger, args=[plan], id=plan.name, next_run_time=first)
        with self.signals():
            scheduler.start()
            while not self.stop.wait(WAKE_SECONDS):
                scheduler.wakeup()
            scheduler.shutdown(wait=True)
        return PAUSED if self.signal == signal.SIGINT else 0

    def once(self, name: str) -> int:
        """One window of a schedule now; returns the exit code of its study.

        Raises `SpecError` where the study is running already.
        """
        plan = self.plans[name]
        self._see(plan)
        with self.signals(), self._lock(plan) as lock:
            if lock is None:
                raise spec_error("task.once", name, "its study is running already", "wait for the end of its window")
            return self._carry_out(plan, full(time.time(), hours=plan.spec.hours, why="asked for"), lock)

    def work(self, plan: Plan) -> None:
        """Carry out what is due of a schedule: APScheduler calls this whenever it fires.

        A fire time that passes while the study is running is met when the window is over, as one that was missed.
        """
        try:
            waiting = False
            while not self.stop.is_set() and self._due(plan):
                with self._lock(plan) as lock:
                    window = self._due(plan) if lock is not None else None  # the last holder may have met it
                    if lock is not None and window:
                        self._carry_out(plan, window, lock)
                if lock is None and not waiting:
                    self.say(plan.name, "is due, and waits: its study is still running under another scheduler")
                    waiting = True
                self.stop.wait(LOCK_SECONDS if lock is None else 0)
        except (MachineError, SpecError, OSError) as error:
            self.say(plan.name, f"could not be run: {error}")

    def say(self, name: str, text: str) -> None:
        """One line for one event."""
        self.console.print(f"{moment(time.time())} {name}: {text}", markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM pauses all studies; the second ends this process, and the guards pause them."""
        numbers = (signal.SIGINT, signal.SIGTERM)

        def handle(number: int, _: object) -> None:
            self.signal = number
            self.stop.set()
            for other in numbers:
                signal.signal(other, signal.SIG_DFL)

        before = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _see(self, plan: Plan) -> None:
        rule = f"{plan.spec.cron} {plan.spec.timezone or 'local'}"
        self.state.see(plan.name, rule=rule, enabled=plan.spec.enabled, now=time.time())

    def _lock(self, plan: Plan) -> contextlib.AbstractContextManager[int | None]:
        return only_one(self.folder / f"{plan.name}.lock")

    def _due(self, plan: Plan) -> Window | None:
        entry = self.state.read().get(plan.name)
        return due(entry, trigger=plan.trigger, hours=plan.spec.hours, now=time.time()) if entry else None

    def _carry_out(self, plan: Plan, window: Window, lock: int) -> int:
        """One window, from its first line to its last; returns the exit code of the study."""
        self._remember(plan, since=window.begins, begun=window.begins, ends=window.ends, ended=None, outcome=None)
        log = self.folder / plan.name / f"{datetime.fromtimestamp(window.begins):%Y-%m-%dT%H-%M-%S}.log"
        code, outcome = None, "failed to start"
        try:
            if self._idle(plan, window):
                self.say(plan.name, f"begins ({window.why}), {_until(window)}; log {_short(log)}")
                code = run_study(
                    plan.command,
                    log=log,
                    grace=plan.spec.grace,
                    lock=lock,
                    over=lambda: self.stop.is_set() or window.over(time.time()),
                    rest=self.stop.wait,
                )
            outcome = self._outcome(code)
        finally:
            self._remember(plan, ended=time.time(), outcome=outcome)
        said = f": {last_line(log)}" if outcome.startswith(("refused", "failed")) else ""
        self.say(plan.name, f"{outcome}{said}{self._next(plan)}")
        return PAUSED if code is None else code

    def _remember(self, plan: Plan, **changes: Any) -> None:
        def changed(entry: Entry | None) -> Entry:
            assert entry is not None, "seen before it is carried out"
            return entry.replace(**changes)

        self.state.update(plan.name, changed)

    def _idle(self, plan: Plan, window: Window) -> bool:
        """Wait, if the schedule says so, until the GPUs are idle; False where window or scheduler ended before."""
        told = False
        while plan.spec.idle_gpus and (found := self.busy()):
            if not told:
                self.say(plan.name, f"is due, and waits for idle GPUs ({'; '.join(found)})")
                told = True
            if self.stop.wait(GPU_SECONDS) or window.over(time.time()):
                return False
        return True

    def _outcome(self, code: int | None) -> str:
        """How a window ended, in a word or two; `code` None: its study was not begun."""
        if code == 0:
            return "complete"
        if code in (PAUSED, TERMINATED, KILLED, None) and self.stop.is_set():
            return INTERRUPTED
        if code is None:
            return "GPUs in use"
        if code == REFUSED:
            return "refused"
        if code in (PAUSED, TERMINATED):
            return "paused"
        return "killed" if code == KILLED else f"failed ({code})"

    def _next(self, plan: Plan) -> str:
        if self.stop.is_set() or not plan.spec.enabled:
            return ""
        following = next_time(plan.trigger, after=time.time())
        return f"; next {moment(following)}" if following else ""


def moment(seconds: float) -> str:
    """Local time, to the second."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def _until(window: Window) -> str:
    return "until it is complete" if window.ends is None else f"until {moment(window.ends)}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
