"""Weights & Biases beside `metrics.csv`; offline unless asked otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from nanochat.core.errors import MachineError, spec_error
from nanochat.core.spec import Positive
from nanochat.logger.base import About, Logger, LoggerSpec, Row
from nanochat.logger.csv import FILE, CSVLogger

LONGEST_TAG = 64  # characters; W&B refuses longer ones


class WandbSpec(LoggerSpec):
    """Logs to a W&B project; the run's id there is its key here, so that a resumed run goes on in the same chart.

    Runs of a study are one group there, its phases job types, arm and phase tags.
    """

    mode: Literal["offline", "online"]
    project: str
    entity: str | None
    timeout: Positive

    def check(self) -> None:
        if self.mode == "online" and not logged_in():
            raise spec_error(
                "mode", self.mode, "no W&B account is configured", "run `wandb login`, or use logger.mode=offline"
            )

    def open(self, folder: Path, *, key: str, step: int, config: Mapping[str, Any], about: About | None) -> WandbLogger:
        """Raises `MachineError` when W&B is to be online and does not answer within `timeout` seconds."""
        import wandb
        from wandb.errors import Error

        settings = wandb.Settings(init_timeout=self.timeout, silent=True, console="off", x_disable_stats=True)
        try:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                id=key,
                name=key,
                dir=str(folder),
                mode=self.mode,
                resume="allow" if self.mode == "online" else None,
                config=dict(config),
                group=about.study if about else None,
                job_type=about.phase if about else None,
                tags=[tag[:LONGEST_TAG] for tag in (about.arm, about.phase) if tag] if about else None,
                settings=settings,
            )
        except Error as error:
            reason = str(error).splitlines()[0]
            raise MachineError(
                f"logger.mode=online: W&B cannot be reached ({reason}); use logger.mode=offline and `wandb sync` later"
            ) from error
        return WandbLogger(run, CSVLogger(folder / FILE, step=step))


class WandbLogger(Logger):
    """Rows go to both places."""

    def __init__(self, run: Any, rows: CSVLogger) -> None:
        self.run = run
        self.rows = rows

    def log(self, row: Row) -> None:
        self.rows.log(row)
        self.run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        self.rows.close()
        self.run.finish()


def logged_in() -> bool:
    """Whether W&B finds a key, in the environment or where `wandb login` leaves it. Asks nobody, not even the network.

    A key that W&B finds badly formed counts: `open` then says what is wrong with it.
    """
    import wandb
    from wandb.errors import AuthenticationError

    wandb.setup(settings=wandb.Settings(silent=True))
    try:
        return wandb.login(prompt=False, verify=False)
    except AuthenticationError:
        return True
