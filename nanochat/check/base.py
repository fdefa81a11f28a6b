"""What a check says."""

from __future__ import annotations

from typing import Literal, NamedTuple

Status = Literal["passed", "failed", "not applicable"]


class Result(NamedTuple):
    """found: what was seen, a phrase · remedy: what to do about it, a sentence; empty unless it failed."""

    status: Status
    found: str
    remedy: str = ""


def passed(found: str) -> Result:
    """Nothing wrong."""
    return Result("passed", found)


def failed(found: str, remedy: str) -> Result:
    """A mistake, named."""
    return Result("failed", found, remedy)


def not_applicable(reason: str) -> Result:
    """Nothing to be judged here, and why."""
    return Result("not applicable", reason)
