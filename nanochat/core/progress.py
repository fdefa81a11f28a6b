"""Progress people can see: percent and time left on anything that takes over two seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

T = TypeVar("T")

PATIENCE_SECONDS = 2.0


def quiet() -> bool:
    """Whether the environment asks for no progress (`NANOCHAT_QUIET=1`): set in every trial of a study."""
    return os.environ.get("NANOCHAT_QUIET") == "1"


def bar(console: Console) -> Progress:
    """The one look of a progress bar: label, bar, percent, time left, and a free text field `note`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )


def track(items: Iterable[T], *, total: float, label: str, size: float | Callable[[T], float] = 1.0) -> Iterator[T]:
    """Yield `items`, showing progress on stderr once it has taken two seconds.

    Each is worth `size` of `total`, a number or a function of the item. A terminal gets a bar; anything else a plain
    line for every tenth of the way.
    """
    console = Console(stderr=True)
    start, done, shown = time.monotonic(), 0.0, 0
    progress, task = None, None
    try:
        for item in items:
            yield item
            done += size(item) if callable(size) else size
            if quiet() or time.monotonic() - start < PATIENCE_SECONDS:
                continue
            if console.is_terminal:
                if progress is None:
                    progress = bar(console)
                    progress.start()
                    task = progress.add_task(label, total=total, note="")
                assert task is not None
                progress.update(task, completed=done)
            elif int(10 * done / total) > shown:
                shown = int(10 * done / total)
                console.print(f"{label}: {10 * shown}%")
    finally:
        if progress is not None:
            progress.stop()
