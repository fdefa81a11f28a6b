"""One schedule: when a study is worked on, for how long, and which study."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from nanochat.core.spec import Positive, Spec
from nanochat.schedule.cron import check_zone, trigger_of

Hours = Annotated[float, Field(gt=0, le=8760)]


class ScheduleSpec(Spec):
    """The study that `run.py experiment=… <overrides> -m` describes, worked on in windows.

    cron: when a window begins · timezone: of the expression, None: the machine's · hours: longest a window lasts, None:
    until the study is complete · idle_gpus: begin only once no GPU of the machine is in use · grace: seconds between
    asking a study to pause and killing it · enabled: false leaves it to `task.once`.
    """

    cron: str
    timezone: str | None
    experiment: str | None
    overrides: tuple[str, ...]
    hours: Hours | None
    idle_gpus: bool
    grace: Positive
    enabled: bool

    @field_validator("cron")
    @classmethod
    def _cron_comes(cls, cron: str) -> str:
        trigger_of(cron, timezone="UTC")
        return cron

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, timezone: str | None) -> str | None:
        if timezone is not None:
            check_zone(timezone)
        return timezone

    def trigger(self) -> Any:
        """APScheduler's trigger of the expression."""
        return trigger_of(self.cron, timezone=self.timezone)

    @property
    def words(self) -> list[str]:
        """The overrides of the study's command, without its `-m`."""
        return [*([f"experiment={self.experiment}"] if self.experiment else []), *self.overrides]
