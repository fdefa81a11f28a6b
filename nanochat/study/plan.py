"""What a study will run and cost: arithmetic on its runs, and on how long a run of each arm takes."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nanochat.run.memory import training_memory
from nanochat.run.spec import RunSpec
from nanochat.run.train import ROWS, validation_steps
from nanochat.study.matched import Matched

# Bytes in a run's folder, as found: a scored document in eval.parquet, a row of metrics.csv, and the rest (run.json
# with the code's fingerprint, result.json, log.txt, the bins of eval.parquet).
DOCUMENT_BYTES, ROW_BYTES, FIXED_BYTES = 64, 120, 24_000

# Where nothing was scored yet, documents are taken to have this many bytes; texts without a limit to have so many.
BYTES_OF_DOCUMENT, BYTES_OF_TEXT = 1_000, 1_000_000


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One arm.

    tuning, seeds: runs of each kind · done: those of both that are finished · tokens, flops: of one run · seconds: of
    one run, None if unknown · folder, checkpoint: bytes that a finished run keeps, and that a running one has besides.
    """

    name: str
    params: int
    tuning: int
    seeds: int
    done: int
    tokens: int
    flops: float
    seconds: float | None
    folder: int
    checkpoint: int

    @property
    def runs(self) -> int:
        return self.tuning + self.seeds

    @property
    def left(self) -> int:
        """Runs still to come."""
        return max(0, self.runs - self.done)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole study on this worker's slots.

    lag: of suggestions · pruned: runs may be stopped early, so everything here is an upper bound · most_flops,
    most_hours: the study's caps, None for none · free: bytes left on the disk that the runs are written to · unknown:
    arms whose pace could not be measured, and why · matched: how arms were made equal · looks: it may end with fewer
    seeds, so that all this is an upper bound too.
    """

    name: str
    arms: tuple[ArmPlan, ...]
    slots: int
    lag: int
    pruned: bool
    most_flops: float | None
    most_hours: float | None
    free: int
    unknown: Mapping[str, str]
    matched: tuple[Matched, ...] = ()
    looks: bool = False

    @property
    def runs(self) -> int:
        return sum(arm.runs for arm in self.arms)

    @property
    def left(self) -> int:
        return sum(arm.left for arm in self.arms)

    @property
    def flops(self) -> float:
        """Training FLOPs of all runs."""
        return sum(arm.runs * arm.flops for arm in self.arms)

    @property
    def seconds(self) -> float | None:
        """Until the runs that are left are done, by this worker alone; None where an arm's pace is unknown."""
        jobs = self._jobs()
        return makespan(jobs, slots=self.slots) if jobs is not None else None

    @property
    def work(self) -> float | None:
        """Seconds of all runs that are left, added up; None where an arm's pace is unknown."""
        jobs = self._jobs()
        return sum(jobs) if jobs is not None else None

    def _jobs(self) -> list[float] | None:
        """Seconds of each run that is left; None where an arm's pace is unknown."""
        jobs = list(_jobs(self.arms))
        known = [seconds for seconds in jobs if seconds is not None]
        return known if len(known) == len(jobs) else None

    @property
    def disk(self) -> int:
        """Bytes that the runs that are left will add at the worst moment: the last ones are still running."""
        largest = max(arm.checkpoint for arm in self.arms)
        return sum(arm.left * arm.folder for arm in self.arms) + min(self.slots, self.left) * largest


def plan_arm(
    name: str, run: RunSpec, *, tuning: int, seeds: int, done: int, seconds: float | None, documents: int | None
) -> ArmPlan:
    """The plan of one arm from a resolved `run` of it. `documents`: how many a run scores at its end, if known."""
    memory = training_memory(run)
    if documents is None:
        documents = (run.eval.test_bytes or BYTES_OF_TEXT) // BYTES_OF_DOCUMENT
    rows = min(run.steps - run.first_step, ROWS + len(validation_steps(run)))
    cost = run.cost
    return ArmPlan(
        name=name,
        params=cost.params,
        tuning=tuning,
        seeds=seeds,
        done=done,
        tokens=run.own_tokens,
        flops=run.own_flops,
        seconds=seconds,
        folder=4 * cost.params + documents * DOCUMENT_BYTES + rows * ROW_BYTES + FIXED_BYTES,
        checkpoint=memory.weights + memory.optimizer,
    )


def makespan(jobs: Iterable[float], *, slots: int) -> float:
    """When the last of the jobs ends if each, in order, takes the slot that is free first (list scheduling).

    At most 2 − 1/slots times the shortest possible (Graham 1969).
    """
    free_at = [0.0] * slots
    for seconds in jobs:
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return max(free_at)


def _jobs(arms: Iterable[ArmPlan]) -> Iterator[float | None]:
    """The seconds of every run that is left: tuning in turn, arm by arm, then the seeds of each."""
    arms = list(arms)
    tuning = {arm.name: max(0, arm.tuning - arm.done) for arm in arms}
    for turn in range(max(tuning.values(), default=0)):
        yield from (arm.seconds for arm in arms if turn < tuning[arm.name])
    for arm in arms:
        yield from [arm.seconds] * (arm.left - tuning[arm.name])
