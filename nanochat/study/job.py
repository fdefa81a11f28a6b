"""A trial at work: its run, what it has reported, and what of all that becomes its result."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nanochat.run.spec import RunSpec
from nanochat.study.ledger import trained
from nanochat.study.trial import Trial

Message = dict[str, Any]

# Of the time that a run may take, what is kept for its last step and checkpoint: a share, and at least so much.
GRACE, GRACE_SECONDS = 0.03, 1.0


@dataclass
class Job:
    """sequences: of a batch, on each device · micro: of them in a forward pass · tokens: of the whole run · reports:
    tokens and bits per byte, in order · pruned: the tokens at which the trial was given up · began: this attempt, by
    this process's clock · late: it was stopped for taking longer than it may."""

    trial: Trial
    key: str
    measures: dict[str, float]
    sequences: int
    micro: int
    tokens: int
    reports: list[tuple[int, float]] = field(default_factory=list)
    pruned: int | None = None
    began: float = field(default_factory=time.monotonic)
    late: bool = False

    @property
    def elapsed(self) -> float:
        """Seconds since this attempt began."""
        return time.monotonic() - self.began

    def taken(self) -> dict[str, float]:
        """What is to be noted on a trial that goes on in another attempt."""
        return {} if self.trial.limit is None else {"seconds": self.trial.seconds + self.elapsed}

    def overdue(self) -> bool:
        """Whether this attempt is about to take longer than it may: a checkpoint is still to be written."""
        limit = self.trial.limit
        return limit is not None and not self.late and self.elapsed > limit - max(GRACE_SECONDS, GRACE * limit)

    def hangs(self) -> bool:
        """Whether it was stopped for its time, and all of that is over: it must not take more."""
        return self.late and self.trial.limit is not None and self.elapsed > self.trial.limit

    def timed_out(self, last: Message | None) -> Message:
        """The result of a trial that took longer than it may."""
        reason = f"not done within the {self.trial.limit:.0f} seconds that were set aside for it"
        return {"status": "timeout", "reason": reason, "key": self.key} | {
            name: (last or {}).get(name) for name in ("tokens", "seconds", "micro")
        }

    def hear(self, tokens: int, bpb: float) -> bool:
        """Take note of a report; whether it says anything new."""
        new = self.pruned is None and math.isfinite(bpb) and tokens not in dict(self.reports)
        if new:
            self.reports.append((tokens, bpb))
        return new

    def given_up(self, last: Message | None = None) -> Message:
        """The result of a trial that was pruned; `last`: what its run said in the end, if it did."""
        reason = f"given up at {self.pruned:,} tokens with {self.reports[-1][1]:.4f} bits per byte"
        return {"status": "pruned", "reason": reason, "key": self.key, "tokens": self.pruned} | {
            name: (last or {}).get(name) for name in ("seconds", "micro")
        }

    def values(self, result: Message, objectives: Sequence[str]) -> tuple[float, ...] | None:
        """What the trial is judged by; None where it is not complete."""
        if result["status"] != "complete":
            return None
        split = result["valid" if self.trial.phase == "tune" else "test"]
        found = {**self.measures, "bpb": split["bpb"], "loss": split["loss"]}
        chosen = objectives if self.trial.phase == "tune" else objectives[:1]
        return tuple(float(found[name]) for name in chosen)

    def summary(self, result: Message, *, rungs: Mapping[str, float], log: str) -> dict[str, Any]:
        """What the storage keeps of a `result.json`."""
        names = ("status", "reason", "key", "tokens", "seconds", "micro")
        kept: dict[str, Any] = {name: result.get(name) for name in names} | self.measures
        if self.measures:
            kept["flops_spent"] *= trained(result, begins=self.trial.begins, ends=self.tokens)
        if self.trial.limit is not None:
            kept["elapsed"] = self.elapsed
        if self.trial.start:
            kept["start"] = self.trial.start
        if self.reports:
            kept["reports"] = self.reports
        if rungs:
            kept["rungs"] = dict(rungs)
        if log:
            kept["log"] = log
        if result["status"] == "complete":
            valid, test = result["valid"], result["test"]
            kept |= {"valid_bpb": valid["bpb"], "valid_loss": valid["loss"]}
            kept |= {"test_bpb": test["bpb"], "loss": test["loss"]}
        elif self.reports:
            kept["valid_bpb"] = self.reports[-1][1]
        return kept


def job_of(trial: Trial, spec: RunSpec, *, key: str, devices: int) -> Job:
    """The work on a trial's resolved run, spread over `devices`."""
    cost = spec.cost
    share = spec.batch.tokens // spec.context // devices
    assert spec.batch.micro is not None
    return Job(
        trial=trial,
        key=key,
        measures={
            "params": cost.params,
            "active_params": cost.active_params,
            "flops": spec.flops,
            "flops_spent": spec.own_flops,
            "non_embedding_params": spec.architecture.non_embedding_params(
                vocab=spec.tokenizer.ids, context=spec.context
            ),
            "state_bytes": cost.state_bytes,
        },
        sequences=share,
        micro=min(share, trial.micro or spec.batch.micro),
        tokens=spec.tokens,
    )
