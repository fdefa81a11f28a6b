"""The worker's loop: claim a trial, start its run in a free slot, record how it ended; no batches, no barrier."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nanochat.core.errors import MachineError, SpecError, spec_error
from nanochat.study.failures import Policy, all_alike, halved
from nanochat.study.job import Job, job_of
from nanochat.study.outage import Outage, Unreachable
from nanochat.study.pool import STOPPING, Child, Message, Pool
from nanochat.study.runs import Runs
from nanochat.study.store import Store
from nanochat.study.trial import Trial
from nanochat.study.watch import Watch

# How long to wait for news of our own children before looking for a signal, and for other workers' results.
WAIT_SECONDS = 0.5
LOOK_SECONDS = 2.0


class Worker:
    """Works on a study until its budget is met, somebody interrupts, or failures end it."""

    def __init__(
        self,
        store: Store,
        *,
        runs: Runs,
        pool: Pool,
        watch: Watch,
        policy: Policy,
        most_lost: int,
        fail_fast: int | None,
        patience: float,
    ) -> None:
        """most_lost: how often in a row a trial's process may die · fail_fast: so many first trials that all fail
        alike end the study · patience: seconds to wait for a storage that does not answer."""
        self.store = store
        self.runs = runs
        self.pool = pool
        self.watch = watch
        self.policy = policy
        self.most_lost = most_lost
        self.fail_fast = fail_fast
        self.outage = Outage(patience, say=watch.say)
        self.stopping = False
        self.refused: SpecError | MachineError | None = None
        self.looked_at = 0.0

    def work(self) -> bool:
        """Returns whether the study is done; False after an interrupt.

        Raises what a run refused to do, and what the failures of trials amount to (`SpecError`, `MachineError`):
        that is no result, and stops the study.
        """
        self._look()
        self._look_at_failures()
        with self._signals():
            while True:
                self._fill()
                if not self.pool.children and (self.stopping or (not self.outage.waiting and self.store.done())):
                    break
                self._listen()
        if self.refused is not None:
            raise self.refused
        return self.store.done() and not self.outage.waiting

    def _fill(self) -> None:
        """Tell what waits to be told, then start runs while there are free slots and trials to claim."""
        now = time.monotonic()
        if now < self.looked_at + LOOK_SECONDS:
            return
        try:
            self.outage.catch_up()
            while self.pool.free and not self.stopping:
                trial = self.store.claim()
                self.outage.answered()
                if trial is None:
                    break
                self._begin(trial)
            else:
                return
        except Unreachable as error:
            if self.outage.over(error):
                self._end(error)
        # Nothing to claim now: look again after the next result, ours or another worker's.
        self.looked_at = now

    def _begin(self, trial: Trial) -> None:
        """Start a trial's run, unless its result is known already or its parameters make no run."""
        try:
            spec = self.runs.of(trial)
        except SpecError as error:
            job = Job(trial, key="", measures={}, sequences=1, micro=1, tokens=0)
            self._record(job, {"status": "failed", "reason": str(error)})
            return
        try:
            request = self.runs.request(spec, trial)
            job = job_of(trial, spec, key=request["key"], devices=self.runs.settings.devices)
            known = self.runs.known(job.key)
        except (SpecError, MachineError) as error:
            self._refuse(trial, error)
            return
        if known is not None:
            self._reuse(job, known)
            return
        child = self.pool.start(request, tag=job)
        self.watch.started(child.slot, trial)
        if self.stopping:  # the signal came while this one was being made
            child.stop()

    def _reuse(self, job: Job, known: Message) -> None:
        """A finished run, whichever study asked for it: what it reported decides as if it had run now."""
        for tokens, bpb in self.runs.reports(job.key):
            if job.hear(tokens, bpb):
                job.pruned = self.store.judge(job.trial, job.reports)
        self._record(job, job.given_up(known) if job.pruned is not None else known)

    def _listen(self) -> None:
        """Take what the children say, and settle those that ended."""
        for child, messages, ended in self.pool.events(WAIT_SECONDS):
            for message in messages:
                if message["kind"] == "progress":
                    self.watch.progress(child.slot, message)
                elif message["kind"] == "report":
                    self._report(child, message["tokens"], message["bpb"])
                else:
                    child.hear_last(message)
            if ended:
                self.watch.ended(child.slot)
                self._settle(child)
        for child in self.pool.children:
            if child.tag.overdue():
                child.tag.late = True
                child.stop()
            elif child.tag.hangs():
                child.process.kill()
        self.watch.refresh()

    def _report(self, child: Child, tokens: int, bpb: float) -> None:
        """A validation: note it, and end a run that is given up. Runs that feed the answer never are."""
        job: Job = child.tag
        if not job.hear(tokens, bpb):
            return
        with contextlib.suppress(Unreachable):  # of use to watchers alone
            self.store.report(job.trial, tokens, bpb)
        job.pruned = self.store.judge(job.trial, job.reports)
        if job.pruned is not None:
            child.stop()

    def _settle(self, child: Child) -> None:
        """Record the result of an ended child, or hand its trial back."""
        job, message = child.tag, child.last
        self.looked_at = 0.0
        if job.pruned is not None:
            self._record(job, job.given_up(message))
        elif job.late and (message is None or message.get("status") != "complete"):
            self._record(job, job.timed_out(message))
        elif message is None:
            self._lose(job, reason=child.death())
        elif message["kind"] == "refused":
            kind = SpecError if message["exit_code"] == SpecError.exit_code else MachineError
            reason = message["reason"]
            error = spec_error("", None, reason) if kind is SpecError else MachineError(reason)
            self._refuse(job.trial, error, **job.taken())
        elif message["status"] == "stopped":
            self._release(job.trial, **job.taken())
        elif self.policy.again(job.trial, message["status"]):
            self._retry(job, message)
        else:
            self._record(job, message)

    def _retry(self, job: Job, result: Message) -> None:
        """Begin a failed trial again. Where memory was short, with half as much in a forward pass and twice as many
        of them: the same step."""
        micro = halved(job.micro, sequences=job.sequences) if result["status"] == "oom" else job.trial.micro
        if result["status"] == "oom" and micro is None:
            self._record(job, result)
            return
        how = f" with {micro} sequences in a forward pass" if result["status"] == "oom" else ""
        self.watch.say(f"{job.trial.label} {result['status']}: {result['reason']}; it is begun again{how}")
        self._release(job.trial, tries=job.trial.tries + 1, micro=micro, **job.taken())

    def _lose(self, job: Job, *, reason: str) -> None:
        """A child died without a result: once or twice may be an accident, and does not count."""
        losses = job.trial.lost + (not self.stopping)
        if losses < self.most_lost:
            self.watch.say(f"{job.trial.label}: {reason}; it is tried again")
            self._release(job.trial, lost=losses, **job.taken())
        else:
            self._record(job, {"status": "lost", "reason": f"{losses} times in a row {reason}", "key": job.key})

    def _refuse(self, trial: Trial, error: SpecError | MachineError, **changed: Any) -> None:
        """What a run refuses to begin with concerns the user, not the table: stop, and say so."""
        self._release(trial, **changed)
        self._end(error)

    def _release(self, trial: Trial, **changed: Any) -> None:
        self.outage.soon(lambda: self.store.release(trial, **changed))

    def _record(self, job: Job, result: Message) -> None:
        """Write down how a trial ended, now or when the storage answers again, and what follows from it."""
        values = job.values(result, self.store.definition.objectives)
        bad = result["status"] not in ("complete", "pruned")
        log = self.runs.folder(job.key).tail() if bad and job.key else ""
        kept = job.summary(result, rungs=self.store.rungs(job.trial), log=log)

        def tell() -> None:
            if self.store.tell(job.trial, kept, values=values):
                self._look()
                self.watch.finished(job.trial, kept)
                self._look_at_failures(job.trial if bad else None, kept)

        self.outage.soon(tell)

    def _look_at_failures(self, failed: Trial | None = None, result: Mapping[str, Any] | None = None) -> None:
        """End the study where the policy, or what its first trials came to, says so."""
        if failed and result and self.policy.stop:
            self._end(MachineError(f"study.on_failure=stop: {failed.label} {result['status']}: {result['reason']}"))
        alike = all_alike(self.store.trials(), least=self.fail_fast) if failed or not result else None
        if alike is not None and alike.result is not None:
            name, count = self.store.definition.name, sum(t.finished for t in self.store.trials())
            self._end(
                MachineError(
                    f"the first {count} trials all {alike.status} alike: {alike.result['reason']}\n"
                    f"mend it, then: python run.py task=study study.name={name} task.retry=failed "
                    "(or study.fail_fast=null to go on regardless)"
                )
            )

    def _look(self) -> None:
        """Show the study as it stands, other workers' trials included."""
        self.watch.sync(self.store.trials(), self.store.total())

    def _end(self, error: SpecError | MachineError) -> None:
        self.refused = self.refused or error
        self._stop()

    def _stop(self) -> None:
        self.stopping = True
        self.pool.stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM, or a cluster's word that time is nearly up, asks all runs for a checkpoint; the
        second leaves them to their closing pipes."""

        def handle(*_: Any) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.watch.say("stopping after a checkpoint of each run; once more ends at once")
            self._stop()

        before = {number: signal.signal(number, handle) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
