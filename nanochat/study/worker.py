"""The worker's loop: claim a trial, start its run in a free slot, record how it ended; no batches, no barrier."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nanochat.core.errors import MachineError, SpecError, spec_error
from nanochat.study.pool import Child, Message, Pool
from nanochat.study.runs import Runs
from nanochat.study.store import MOST_LOST, Store, Trial
from nanochat.study.watch import Watch

# How long to wait for news of our own children before looking for a signal, and for other workers' results.
WAIT_SECONDS = 0.5
LOOK_SECONDS = 2.0


class Worker:
    """Works on a study until its budget is met or somebody interrupts."""

    def __init__(self, store: Store, *, runs: Runs, pool: Pool, watch: Watch) -> None:
        self.store = store
        self.runs = runs
        self.pool = pool
        self.watch = watch
        self.stopping = False
        self.refused: SpecError | MachineError | None = None
        self.looked_at = 0.0

    def work(self) -> bool:
        """Returns whether the study is done; False after an interrupt.

        Raises what a run refused to do (`SpecError`, `MachineError`): that is no result, and stops the study.
        """
        self._look()
        with self._signals():
            while True:
                self._fill()
                if not self.pool.children and (self.stopping or self.store.done()):
                    break
                self._listen()
        if self.refused is not None:
            raise self.refused
        return self.store.done()

    def _fill(self) -> None:
        """Start runs while there are free slots and trials to claim."""
        now = time.monotonic()
        if self.stopping or not self.pool.free or now < self.looked_at + LOOK_SECONDS:
            return
        while self.pool.free and not self.stopping:
            trial = self.store.claim()
            if trial is None:
                # Nothing to claim now: look again after the next result, ours or another worker's.
                self.looked_at = now
                return
            self._begin(trial)

    def _begin(self, trial: Trial) -> None:
        """Start a trial's run, unless its result is known already or its parameters make no run."""
        try:
            spec = self.runs.of(trial)
        except SpecError as error:
            self._record(trial, {"status": "failed", "reason": str(error)})
            return
        try:
            request = self.runs.request(spec)
            known = self.runs.known(request["key"])
        except (SpecError, MachineError) as error:
            self._refuse(trial, error)
            return
        if known is not None:
            self._record(trial, known)
            return
        child = self.pool.start(request, tag=trial)
        self.watch.started(child.slot, trial)

    def _listen(self) -> None:
        """Take what the children say, and settle those that ended."""
        for child, messages, ended in self.pool.events(WAIT_SECONDS):
            for message in messages:
                if message["kind"] == "progress":
                    self.watch.progress(child.slot, message)
                else:
                    child.hear_last(message)
            if ended:
                self.watch.ended(child.slot)
                self._settle(child)
        self.watch.refresh()

    def _settle(self, child: Child) -> None:
        """Record the result of an ended child, or hand its trial back."""
        trial, message = child.tag, child.last
        self.looked_at = 0.0
        if message is None:
            self._lose(trial, reason=child.death())
        elif message["kind"] == "refused":
            kind = SpecError if message["exit_code"] == SpecError.exit_code else MachineError
            reason = message["reason"]
            self._refuse(trial, spec_error("", None, reason) if kind is SpecError else MachineError(reason))
        elif message["status"] == "stopped":
            self.store.release(trial)
        else:
            self._record(trial, message)

    def _lose(self, trial: Trial, *, reason: str) -> None:
        """A child died without a result: once or twice may be an accident, and does not count."""
        losses = trial.lost + (not self.stopping)
        if losses < MOST_LOST:
            self.store.release(trial, lost=losses)
            self.watch.say(f"{trial.label}: {reason}; it is tried again")
        else:
            self._record(trial, {"status": "failed", "reason": f"lost {losses} times in a row: {reason}"})

    def _refuse(self, trial: Trial, error: SpecError | MachineError) -> None:
        """What a run refuses to begin with concerns the user, not the table: stop, and say so."""
        self.store.release(trial)
        self.refused = self.refused or error
        self._stop()

    def _record(self, trial: Trial, result: Message) -> None:
        if self.store.tell(trial, summary(result), score=score(trial, result)):
            self._look()
            self.watch.finished(trial, result)

    def _look(self) -> None:
        """Show the study as it stands, other workers' trials included."""
        self.watch.sync(self.store.trials(), self.store.total())

    def _stop(self) -> None:
        self.stopping = True
        self.pool.stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM asks all runs for a checkpoint; the second leaves them to their closing pipes."""

        def handle(*_: Any) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.watch.say("stopping after a checkpoint of each run; once more ends at once")
            self._stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def score(trial: Trial, result: Message) -> float | None:
    """What a trial is judged by: tuning by the valid split alone, confirming runs by the test split."""
    if result["status"] != "complete":
        return None
    return result["valid" if trial.phase == "tune" else "test"]["bpb"]


def summary(result: Message) -> dict[str, Any]:
    """What the journal keeps of a `result.json`."""
    kept: dict[str, Any] = {name: result.get(name) for name in ("status", "reason", "key", "tokens", "seconds")}
    if result["status"] == "complete":
        kept |= {"valid_bpb": result["valid"]["bpb"], "test_bpb": result["test"]["bpb"], "loss": result["test"]["loss"]}
    return kept
