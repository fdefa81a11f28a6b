"""Slots: each run in a process of its own, forked from a warm server that has already imported what runs need.

The server and the pipes are Python's own. Nothing here can leave an orphan: a run whose owner is gone sees its
pipe close, and ends after a checkpoint; the server ends when its last client has.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

from nanochat.study.slots import Slot, thread_variables

Target = Callable[[dict[str, Any], Connection], None]
Message = dict[str, Any]

# What every run imports; CUDA stays asleep until a run wakes it. Lightning asks for omegaconf when it saves.
PRELOAD = ("torch", "lightning", "omegaconf", "nanochat.run.child")

# What asks a worker to stop; its runs leave that to it. SLURM sends the last two before time is up.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))

# A child that sent its result has nothing left to do; one that is still there after this hangs in its exit.
EXIT_SECONDS = 30.0


class Child:
    """A run in its process, in the slot of number `slot`.

    tag: whatever its owner knows it by · last: its last word, once it has come.
    """

    def __init__(self, target: Target, request: dict[str, Any], *, slot: Slot, tag: Any) -> None:
        self.slot = slot.number
        self.tag = tag
        self.last: Message | None = None
        self.last_at = 0.0
        context = _context()
        self.channel, theirs = context.Pipe()
        request = {**request, "environment": dict(slot.environment)}
        self.process = context.Process(target=_enter, args=(target, request, theirs, slot.cores), daemon=True)
        self.process.start()
        theirs.close()

    def messages(self) -> list[Message]:
        """What has arrived since the last call. A message torn by its sender's death is dropped."""
        found: list[Message] = []
        try:
            while self.channel.poll():
                found.append(self.channel.recv())
        except (EOFError, OSError):
            pass
        return found

    def hear_last(self, message: Message) -> None:
        """Take its last word: from now on it has nothing to do but to end."""
        self.last, self.last_at = message, time.monotonic()

    def hangs(self) -> bool:
        """Whether it is still there long after its last word."""
        return self.last is not None and time.monotonic() - self.last_at > EXIT_SECONDS

    def ended(self) -> bool:
        """Whether the process is gone; what it sent last can still be read."""
        return not self.process.is_alive()

    def stop(self) -> None:
        """Ask for a checkpoint and an early end."""
        with contextlib.suppress(OSError):
            self.channel.send("stop")

    def death(self) -> str:
        """How the ended process died, in words."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code} and no result"
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        hint = " (the machine may be out of memory)" if -code == signal.SIGKILL else ""
        return f"its process was killed by {name}{hint}"

    def close(self) -> None:
        """Let the process end, and give back what it held here."""
        self.channel.close()
        self.process.join(EXIT_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class Pool:
    """A run at a time in each of `slots`. `target` is what a run's process calls."""

    def __init__(self, target: Target, *, slots: Sequence[Slot], preload: Sequence[str] = PRELOAD) -> None:
        self.target = target
        self.slots = {slot.number: slot for slot in slots}
        self.free = sorted(self.slots)
        self.children: list[Child] = []
        # Libraries read the number of threads when they are loaded, which the server does. The GPU is each run's own.
        _start_server(preload, environment=thread_variables(slots[0].threads))

    def start(self, request: dict[str, Any], *, tag: Any) -> Child:
        """Begin a run in a free slot, with the slot's environment under `environment` in its request."""
        child = Child(self.target, request, slot=self.slots[self.free.pop(0)], tag=tag)
        self.children.append(child)
        return child

    def events(self, timeout: float) -> Iterator[tuple[Child, list[Message], bool]]:
        """Wait for news, at most `timeout` seconds: each child that has some, its messages, and whether it ended.

        An ended child's slot is free again once its event has been taken.
        """
        for child in self.children:
            if child.hangs():
                child.process.kill()
        sources = {source: child for child in self.children for source in (child.channel, child.process.sentinel)}
        ready = {sources[source]: None for source in wait(list(sources), timeout)}  # type: ignore[arg-type]
        for child in ready:
            # In this order: what a child sent before it ended is there once it has ended.
            ended = child.ended()
            yield child, child.messages(), ended
            if ended:
                self.children.remove(child)
                self.free = sorted([*self.free, child.slot])
                child.close()

    def stop(self) -> None:
        """Ask every run for a checkpoint and an early end."""
        for child in self.children:
            child.stop()

    def close(self) -> None:
        """Leave no process behind: closing the pipes ends what still runs, after its checkpoint."""
        for child in self.children:
            child.channel.close()
        for child in self.children:
            child.close()
        self.children.clear()


def _enter(target: Target, request: dict[str, Any], channel: Connection, cores: Sequence[int]) -> None:
    """The first thing in a run's process: be in the slot, before anything wakes CUDA or starts a thread."""
    os.environ.update(request["environment"])
    if cores:
        os.sched_setaffinity(0, cores)
    target(request, channel)


def _context() -> ForkServerContext | SpawnContext:
    """macOS has no safe fork once its frameworks are loaded."""
    return multiprocessing.get_context("spawn" if sys.platform == "darwin" else "forkserver")


def _start_server(preload: Sequence[str], *, environment: Mapping[str, str]) -> None:
    """Start the fork server, deaf to Ctrl-C and the like: those reach a whole group, and only the owner acts on them.

    An ignored signal stays ignored in what is started meanwhile, so there is no moment in which the server, or a
    run that is only just forked, could die of one.
    """
    if not isinstance(_context(), ForkServerContext):
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    outside = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        multiprocessing.forkserver.set_forkserver_preload(["__main__", *preload])
        multiprocessing.forkserver.ensure_running()
    finally:
        for name, value in outside.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        for number, handler in before.items():
            signal.signal(number, handler)
