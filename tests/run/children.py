"""Real runs in processes of their own, for tests: started, listened to, killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nanochat.core.provenance import origin
from nanochat.core.spec import dump
from nanochat.run.child import main
from nanochat.run.folder import RunFolder, identify
from tests.runs import small

# The longest that a test waits for a word that must come.
PATIENCE_SECONDS = 60.0

Message = dict[str, Any]


class Child:
    """A small run in a process forked from a warm server; its process ends with the `with`."""

    def __init__(
        self, tmp: Path, *overrides: str, target: Callable[[Message, Connection], None] = main, **request: Any
    ) -> None:
        spec, how = small(tmp, *overrides)
        key = identify(spec, cache=how.paths.cache)
        self.folder = RunFolder(how.paths.runs / key)
        given = {"spec": dump(spec), "key": key, "settings": dump(how), "source": origin()._asdict(), **request}
        multiprocessing.set_forkserver_preload(["torch", "lightning", "nanochat.run.child"])
        context = multiprocessing.get_context("forkserver")
        self.channel, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(given, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self.channel.close()

    def messages(self) -> Iterator[Message]:
        """What it says, until it is gone."""
        try:
            while True:
                assert self.channel.poll(PATIENCE_SECONDS), "no word from the run"
                yield self.channel.recv()
        except (EOFError, OSError):
            return

    def until(self, *, kind: str, **like: Any) -> Message:
        """The next message of that kind and with those values."""
        for message in self.messages():
            if message["kind"] == kind and like.items() <= message.items():
                return message
        raise AssertionError(f"no {kind} {like}, but {self.folder.tail()}")

    def result(self) -> Message:
        return self.until(kind="result")
