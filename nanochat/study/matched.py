"""How well an arm was made equal to another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Matched:
    """How an arm was made equal to another, `to`: `key` was set to `value` (None: left as it is), and brings the arm to
    `reached`, where the other has `target`."""

    arm: str
    to: str
    by: str
    key: str | None
    value: int | None
    target: float
    reached: float

    @property
    def mismatch(self) -> float:
        """Relative to the target; negative where the arm is smaller."""
        return self.reached / self.target - 1 if self.target else float(self.reached != self.target)
