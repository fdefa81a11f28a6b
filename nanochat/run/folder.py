"""A run's folder: `multirun/runs/<key>/`, the only form in which runs are kept."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from nanochat.core.artifact import locked, read_json, writable, write_json
from nanochat.core.errors import SpecError
from nanochat.core.spec import dump, hash_of
from nanochat.logger.csv import FILE as METRICS
from nanochat.run.spec import RunSpec

Status = Literal["complete", "stopped", "diverged", "oom", "failed"]

SCHEMA = 1


def identify(spec: RunSpec, *, cache: Path) -> str:
    """The key of a resolved run: the hash of its Spec and of the fingerprint of its texts.

    Tokenizers are trained on those texts, so the one fingerprint covers their input too.
    """
    try:
        fingerprint = spec.data.fingerprint(cache)
    except SpecError as error:
        raise error.under("data") from None
    return hash_of({"run": dump(spec), "data": fingerprint})


class RunFolder:
    """The files of one run. Whoever writes holds `lock()`; readers see whole files only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec_file = path / "run.json"
        self.result_file = path / "result.json"
        self.model_file = path / "model.safetensors"
        self.record_file = path / "eval.parquet"
        self.state_file = path / "state.ckpt"
        self.output_file = path / "output.txt"
        self.metrics_file = path / METRICS
        self.log_file = path / "log.txt"

    @property
    def key(self) -> str:
        return self.path.name

    def milestone_file(self, tokens: int) -> Path:
        """The state after so many training tokens, which stays for longer runs to go on from."""
        return self.path / f"at-{tokens}.ckpt"

    def milestones(self) -> list[int]:
        """After how many training tokens a state was kept."""
        return sorted(int(path.stem.removeprefix("at-")) for path in self.path.glob("at-*.ckpt"))

    def forget_milestones(self) -> None:
        for tokens in self.milestones():
            self.milestone_file(tokens).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the folder if nobody else does: yields whether it is held."""
        with locked(self.path / "lock", wait=False) as held:
            yield held

    def is_locked(self) -> bool:
        """Whether somebody is writing at this moment."""
        if not (self.path / "lock").exists():
            return False
        with self.lock() as held:
            return not held

    def result(self) -> dict[str, Any] | None:
        """`result.json`, or None where there is none yet."""
        return read_json(self.result_file) if self.result_file.exists() else None

    def complete(self) -> dict[str, Any] | None:
        """The result of a run that is complete, else None."""
        result = self.result()
        return result if result and result["status"] == "complete" else None

    def description(self) -> dict[str, Any] | None:
        """`run.json`, or None where there is none yet."""
        return read_json(self.spec_file) if self.spec_file.exists() else None

    def write_result(self, result: dict[str, Any]) -> None:
        write_json(self.result_file, {"schema": SCHEMA, "key": self.key, **result})

    def log(self, text: str) -> None:
        """Append to the run's log, with the time."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        with writable(self.log_file), self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{now} {text}\n")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, and of what the process printed where it died without a word."""
        shown = _last(self.log_file, lines)
        if self.result() is None:
            shown += _last(self.output_file, lines)
        return "\n".join(shown)

    def clear(self) -> None:
        """Forget what an earlier attempt left; the log stays."""
        for path in (self.result_file, self.state_file, self.model_file, self.record_file, self.metrics_file):
            path.unlink(missing_ok=True)
        self.forget_milestones()


def _last(path: Path, lines: int) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return text.rstrip().splitlines()[-lines:]
