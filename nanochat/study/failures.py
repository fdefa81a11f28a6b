"""What a failed trial means: another attempt, a row of the table, or the end of the study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator

from nanochat.core.errors import spec_error
from nanochat.study.trial import Trial

# Ends that another attempt may not repeat. What diverged would diverge again.
RETRIED = ("failed", "oom")


def _policy(text: str) -> str:
    Policy.parse(text)
    return text


PolicyText = Annotated[str, AfterValidator(_policy)]


@dataclass(frozen=True)
class Policy:
    """`continue`, `stop`, or `retry(n)`: begin a failed trial again up to n times, from its last checkpoint."""

    retries: int
    stop: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `SpecError` for anything else."""
        found = re.fullmatch(r"retry\((\d+)\)", text)
        if text not in ("continue", "stop") and not found:
            raise spec_error("", text, "is no policy", "use continue, stop or retry(n), e.g. retry(2)")
        return cls(retries=int(found.group(1)) if found else 0, stop=text == "stop")

    def again(self, trial: Trial, status: str) -> bool:
        """Whether a trial that ended so is begun again."""
        return status in RETRIED and trial.tries < self.retries


def halved(micro: int, *, sequences: int) -> int | None:
    """At most half as many sequences in a forward pass, still dividing the batch's; None where one is the least."""
    return max((n for n in range(1, micro // 2 + 1) if sequences % n == 0), default=None)


def all_alike(trials: Sequence[Trial], *, least: int | None) -> Trial | None:
    """One of the failures, if at least `least` trials have ended and all of them in the same way; else None.

    Numbers in a reason (addresses, sizes) make no difference, but where a run diverged does: a rate too high is no
    mistake in the study.
    """
    ended = [trial for trial in trials if trial.finished and trial.number >= 0 and trial.status != "skipped"]
    if least is None or len(ended) < least or not all(trial.failed for trial in ended):
        return None
    return ended[0] if len({_kind(trial.result or {}) for trial in ended}) == 1 else None


def _kind(result: Any) -> tuple[str, str]:
    status, reason = result["status"], str(result["reason"])
    return status, reason if status == "diverged" else re.sub(r"\d+", "#", reason)
