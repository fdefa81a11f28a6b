"""What a run's process calls, in tests: scripted ends without training, and the real one with accidents."""

from __future__ import annotations

import math
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# The longest that a process waits for a word that must come.
PATIENCE_SECONDS = 60.0


def complete(request: dict[str, Any], channel: Connection) -> None:
    """Ends at once with a score that follows from the learning rate and the seed."""
    peak, seed = request["spec"]["lr"]["peak"], request["spec"]["seed"]
    note(request, "begun")
    channel.send({"kind": "progress", "phase": "train", "tokens": 1, "total": 2, "loss": 1.0, "bpb": None})
    end(request, channel, 1.0 + abs(peak - 0.01) + 0.001 * seed)


def by_rank(request: dict[str, Any], channel: Connection) -> None:
    """Scores that only an attention with a rank can reach, the better the lower it is."""
    spec = request["spec"]
    score = 1.0 + 0.01 * spec["attention"].get("kv_lora_rank", 100) + spec["lr"]["peak"] + 0.001 * spec["seed"]
    end(request, channel, score)


def end(request: dict[str, Any], channel: Connection, bpb: float) -> None:
    """Complete with this score."""
    scores = {"bpb": bpb, "loss": 2.0}
    result = {"status": "complete", "reason": "", "tokens": 2, "seconds": 0.1, "valid": scores, "test": scores}
    channel.send({"kind": "result", "key": request["key"], **result})


def diverging(request: dict[str, Any], channel: Connection) -> None:
    """Every run with more than the default learning rate diverges."""
    if request["spec"]["lr"]["peak"] <= 0.003:
        complete(request, channel)
    else:
        channel.send({"kind": "result", "key": request["key"], "status": "diverged", "reason": "loss is nan"})


def dying(request: dict[str, Any], channel: Connection) -> None:
    """Trial 0 dies more often than is forgiven, the others on their first attempt."""
    if note(request, "begun") <= (5 if request["spec"]["lr"]["peak"] == 0.003 else 1):
        os.kill(os.getpid(), signal.SIGKILL)
    complete(request, channel)


def patient(request: dict[str, Any], channel: Connection) -> None:
    """Works until it is told to stop; completes when it is started again."""
    if note(request, "stopped") > 1:
        complete(request, channel)
        return
    channel.send({"kind": "progress", "phase": "train", "tokens": 1, "total": 2, "loss": None, "bpb": None})
    assert channel.poll(PATIENCE_SECONDS) and channel.recv() == "stop"
    channel.send({"kind": "result", "key": request["key"], "status": "stopped", "reason": "stopped at 1 token"})


def refusing(request: dict[str, Any], channel: Connection) -> None:
    """The machine has trouble, which is no result."""
    channel.send({"kind": "refused", "exit_code": 1, "reason": "no space left on device"})


def note(request: dict[str, Any], word: str) -> int:
    """Count how often the run of this key did something; returns the new count."""
    path = Path(request["settings"]["paths"]["multirun"]) / f"{word}-{request['key']}"
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    return count


def reporting(request: dict[str, Any], channel: Connection) -> None:
    """Validates four times on its way, and does not wait to be told that it is given up; a NaN among the reports."""
    note(request, "begun")
    peak, seed = request["spec"]["lr"]["peak"], request["spec"]["seed"]
    bpb = 1.0 + abs(peak - 0.01) + 0.001 * seed
    for part in (4, 3, 2, 1):
        channel.send({"kind": "report", "tokens": 2048 // part, "bpb": bpb * part if peak < 0.05 else math.nan})
    end(request, channel, bpb)


def short_of_memory(request: dict[str, Any], channel: Connection) -> None:
    """Trains with one sequence in a forward pass at a time and no more, and notes with how many it was tried."""
    path = Path(request["settings"]["paths"]["multirun"]) / f"micro-{request['key']}"
    micro = request["micro"] or request["spec"]["batch"]["micro"]
    path.write_text(f"{path.read_text() if path.exists() else ''}{micro} ")
    if micro > 1:
        channel.send({"kind": "result", "key": request["key"], "status": "oom", "reason": f"no room for {micro}"})
    else:
        complete(request, channel)


def hungry(request: dict[str, Any], channel: Connection) -> None:
    """Never has enough memory."""
    note(request, "begun")
    channel.send({"kind": "result", "key": request["key"], "status": "oom", "reason": "no room"})


def flaky(request: dict[str, Any], channel: Connection) -> None:
    """Fails twice, then completes; what is above the default learning rate diverges."""
    if request["spec"]["lr"]["peak"] > 0.003:
        note(request, "begun")
        channel.send({"kind": "result", "key": request["key"], "status": "diverged", "reason": "loss is nan"})
    elif note(request, "tried") < 3:
        channel.send({"kind": "result", "key": request["key"], "status": "failed", "reason": "it broke"})
    else:
        complete(request, channel)


def broken(request: dict[str, Any], channel: Connection) -> None:
    """Fails, always for one reason, and leaves words in its log."""
    words = "".join(f"word {i}\n" for i in range(50)) + "ValueError: no such thing at 0x7f00\n"
    fail(request, channel, "ValueError: no such thing at 0x7f00", words=words)


def broken_otherwise(request: dict[str, Any], channel: Connection) -> None:
    """Fails, each run for a reason of its own, in letters: numbers make no difference."""
    peak = repr(request["spec"]["lr"]["peak"]).translate(str.maketrans("0123456789", "abcdefghij"))
    fail(request, channel, f"error {peak}")


def mended(request: dict[str, Any], channel: Connection) -> None:
    """Completes with scores that grow with the learning rate."""
    note(request, "mended")
    end(request, channel, 1.0 + request["spec"]["lr"]["peak"])


def fail(request: dict[str, Any], channel: Connection, reason: str, *, words: str = "") -> None:
    """End as failed."""
    note(request, "begun")
    folder = Path(request["settings"]["paths"]["multirun"]) / "runs" / request["key"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text(words)
    channel.send({"kind": "result", "key": request["key"], "status": "failed", "reason": reason})


def two_faced(request: dict[str, Any], channel: Connection) -> None:
    """Valid documents like low learning rates, test documents high ones; noise of the seed, the same for all arms."""
    peak, seed = request["spec"]["lr"]["peak"], request["spec"]["seed"]
    worse = 0.1 * (request["about"]["arm"].startswith("gqa"))
    scores = {
        split: {"bpb": 1.0 + sign * peak + 0.01 * seed + worse, "loss": 2.0}
        for split, sign in (("valid", 1), ("test", -1))
    }
    result = {"status": "complete", "reason": "", "tokens": 2, "seconds": 0.1, **scores}
    channel.send({"kind": "result", "key": request["key"], **result})


def slow_when_small(request: dict[str, Any], channel: Connection) -> None:
    """The smallest models work until they are told to stop; the others complete."""
    if request["spec"]["model"]["dim"] == 16:
        assert channel.poll(PATIENCE_SECONDS) and channel.recv() == "stop"
        channel.send({"kind": "result", "key": request["key"], "status": "stopped", "reason": "", "tokens": 1})
        return
    end(request, channel, 2.0 - request["spec"]["model"]["dim"] / 1000)
