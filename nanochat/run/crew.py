"""The ranks of one run as the first of them sees them: it starts the others, calls them to work, and sees them die."""

# pyright: reportPrivateImportUsage=false
# torch.distributed does not list the stores and the rendezvous that its documentation describes.

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch.distributed as dist

from nanochat.core.errors import MachineError, SpecError
from nanochat.core.spec import dump
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings
from nanochat.trainer.callbacks.guard import Diverged
from nanochat.trainer.ranks import ALONE, PATIENCE, Ranks

# Keys of the store where ranks meet: what the first wants of the others (null: nothing), and who has come.
CALL, HERE = "call", "here/{}"
# Set for a rank whose standard input closes when the first rank ends, however it ends.
LIFELINE = "NANOCHAT_LIFELINE"

LOOK_SECONDS = 0.1
# From the death of a rank: until its process is gone, and until the first rank must have noticed by itself.
GONE_SECONDS, NOTICE_SECONDS = 3.0, 30.0
# For the others to end once there is nothing left to do.
END_SECONDS = 30.0


class RankDied(RuntimeError):
    """Another rank is gone; the message says which, and how."""


class Crew:
    """Used around a run's training, in the first rank: `call`, train, `part`.

    On leaving, no other rank is left; an error that came of another rank's death becomes `RankDied`.
    """

    def __init__(self, count: int, *, launched: Ranks | None = None) -> None:
        """`count` ranks on this machine, the others to be started; or those that `torchrun` has started, of which
        this is the first."""
        self.ranks = launched or (ALONE if count == 1 else Ranks(rank=0, count=count, local=0, local_count=count))
        self.store: dist.Store | None = None if launched is None else meet()
        self.others: list[Other] = []
        self.called = False
        self.settled = threading.Event()

    def __enter__(self) -> Self:
        return self

    def call(self, spec: RunSpec, *, folder: RunFolder, settings: Settings, step: int) -> Ranks:
        """Have every rank train the run from `step` on. Its `run.json` is there. Returns once all have met."""
        if self.ranks.count == 1:
            return ALONE
        store = self.store = self.store or self._start(folder)
        self._await_arrivals(store)
        request = {"folder": str(folder.path), "settings": dump(settings), "step": step, "micro": spec.batch.micro}
        store.set(CALL, json.dumps(request))
        self.called = True
        threading.Thread(target=self._watch, args=(folder,), daemon=True).start()
        self.ranks.join(store, device=spec.trainer.device)
        return self.ranks

    def part(self) -> None:
        """Training is over: the others end by themselves, and what becomes of them no longer matters."""
        self.settled.set()

    def release(self) -> None:
        """Let ranks go that `torchrun` started and for which there was nothing to do."""
        if self.store is not None and not self.called:
            self.store.set(CALL, "null")
            self.called = True

    def death(self) -> str | None:
        """Which rank has died, and how; None while none has."""
        return next((death for other in self.others if (death := other.death())), None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = isinstance(error, (Diverged, SpecError, MachineError)) or self.settled.is_set()
        died = self._death_soon() if isinstance(error, Exception) and not ours else None
        self.settled.set()
        if self.ranks.count > 1:
            self.ranks.leave(broken=error is not None)
        for other in self.others:
            other.end(patience=END_SECONDS if error is None else 0.0)
        if died is not None:
            raise (MemoryError if "OutOfMemoryError" in died else RankDied)(died) from error

    def _start(self, folder: RunFolder) -> dist.Store:
        """Start the other ranks; returns the store that they come to."""
        store = dist.TCPStore(
            "127.0.0.1", 0, self.ranks.count, is_master=True, wait_for_workers=False, timeout=PATIENCE
        )
        for rank in range(1, self.ranks.count):
            self.others.append(Other(rank, count=self.ranks.count, port=store.port, run=folder.spec_file))
        return store

    def _await_arrivals(self, store: dist.Store) -> None:
        while not store.check([HERE.format(rank) for rank in range(1, self.ranks.count)]):
            if died := self.death():
                raise RankDied(died)
            time.sleep(LOOK_SECONDS)

    def _death_soon(self) -> str | None:
        """A broken connection is seen a moment before the process at its other end is gone."""
        until = time.monotonic() + (GONE_SECONDS if self.others else 0.0)
        while (died := self.death()) is None and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        return died

    def _watch(self, folder: RunFolder) -> None:
        """End this process where nothing else would: on a GPU, it may wait for ever for a rank that is gone."""
        while not self.settled.wait(LOOK_SECONDS):
            died = self.death()
            if died is not None and not self.settled.wait(NOTICE_SECONDS):
                folder.log(f"failed: {died}")
                folder.write_result({"status": "failed", "reason": died})
                print(died, file=sys.stderr, flush=True)
                os._exit(1)


class Other:
    """Another rank, in a process that the first one started."""

    def __init__(self, rank: int, *, count: int, port: int, run: Path) -> None:
        self.rank = rank
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its process
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, LIFELINE: 1, "NANOCHAT_QUIET": 1}
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)  # the same code, wherever it came from
        environment = {name: str(value) for name, value in {**place, **where, "PYTHONPATH": path}.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nanochat.run", str(run)],
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for the first rank, which tells the others
        )

    def death(self) -> str | None:
        """How it died, in words; None while it lives, and where it ended well."""
        code = self.process.poll()
        if code is None or code == 0:
            return None
        if code > 0:
            return f"rank {self.rank} ended with exit code {code}{self._last_words()}"
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        hint = " (the machine may be out of memory)" if -code == signal.SIGKILL else ""
        return f"rank {self.rank} was killed by {name}{hint}"

    def end(self, *, patience: float) -> None:
        """Wait so many seconds for its end, then bring it about."""
        assert self.process.stdin is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.output.close()

    def _last_words(self) -> str:
        """The last line that it printed: of an exception, its name and message."""
        size = os.fstat(self.output.fileno()).st_size
        text = os.pread(self.output.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").strip()
        return f": {text.splitlines()[-1].strip()}" if text else ""


def meet() -> dist.Store:
    """The store at which the ranks meet, where the environment says."""
    return next(dist.rendezvous("env://", timeout=PATIENCE))[0]


def await_call(store: dist.Store, ranks: Ranks) -> dict[str, Any] | None:
    """In another rank than the first: come, and wait for what it wants; None where there is nothing to do."""
    store.set(HERE.format(ranks.rank), "")
    while not store.check([CALL]):
        time.sleep(LOOK_SECONDS)
    return json.loads(store.get(CALL))
