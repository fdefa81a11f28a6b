"""What a run's process calls, in tests: the real one, with too little memory or a look at its environment."""

from __future__ import annotations

import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nanochat.run.child import main


def starved(request: dict[str, Any], channel: Connection) -> None:
    """The real run, in `spare` more bytes of address space than its process has when it starts."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + request["spare"],) * 2)
    main(request, channel)


def observed(request: dict[str, Any], channel: Connection) -> None:
    """The real run, then a word on what it was given."""
    main(request, channel)
    channel.send({"kind": "seen", "value": os.environ.get("CUDA_VISIBLE_DEVICES")})
