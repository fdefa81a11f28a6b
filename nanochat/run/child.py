"""A run in a process of its own, its owner at the other end of a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nanochat.core.errors import MachineError, SpecError
from nanochat.core.provenance import Origin
from nanochat.core.spec import load
from nanochat.logger.base import About
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings

# Progress messages are for people: more of them would only keep the owner busy.
REPORT_SECONDS = 0.2


class Pipe:
    """Control over a pipe. Its closing asks to stop, as the word `stop` does: nobody trains for a dead owner."""

    def __init__(self, channel: Connection) -> None:
        self.channel = channel
        self.stopping = False
        self.sent_at = 0.0

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        now = time.monotonic()
        if bpb is None and phase == "train" and now - self.sent_at < REPORT_SECONDS:
            return
        self.sent_at = now
        self.send({"kind": "progress", "phase": phase, "tokens": tokens, "total": total, "loss": loss, "bpb": bpb})

    def report(self, *, tokens: int, bpb: float) -> None:
        self.send({"kind": "report", "tokens": tokens, "bpb": bpb})

    def stop_requested(self) -> bool:
        try:
            while self.channel.poll():
                self.stopping = self.channel.recv() == "stop" or self.stopping
        except (EOFError, OSError):
            self.stopping = True
        return self.stopping

    def send(self, message: dict[str, Any]) -> None:
        try:
            self.channel.send(message)
        except OSError:
            self.stopping = True

    def stop(self, *_: Any) -> None:
        """As a handler of SIGTERM."""
        self.stopping = True


def main(request: dict[str, Any], channel: Connection) -> None:
    """Carry out `request`, plain data: `spec`, `key`, `settings`, `source`, and where given `micro` and `about` (see
    `execute`) and `environment`: variables set before anything looks at them (`CUDA_VISIBLE_DEVICES`).

    The last message is the run's result, or its refusal: a mistake of the user's or a failure of the machine, which
    concerns whoever asked, not this run alone.

    Ctrl-C in the terminal reaches every process of the group; only the owner acts on it.
    """
    os.environ.update(request.get("environment") or {})
    control = Pipe(channel)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, control.stop)
    os.environ["NANOCHAT_QUIET"] = "1"
    settings = load(request["settings"], Settings)
    folder = RunFolder(settings.paths.runs / request["key"])
    with _output_to(folder.output_file):
        about = request.get("about")
        try:
            result = execute(
                load(request["spec"], RunSpec),
                settings=settings,
                control=control,
                source=Origin(**request["source"]),
                micro=request.get("micro"),
                about=About(**about) if about else None,
            )
            control.send({"kind": "result", **result})
        except (SpecError, MachineError) as error:
            control.send({"kind": "refused", "exit_code": error.exit_code, "reason": str(error)})


@contextlib.contextmanager
def _output_to(path: Path):
    """Send what libraries print to a file beside the run, out of the way of the study's own view."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        faulthandler.enable(2)  # a crash within a library says where
        yield
