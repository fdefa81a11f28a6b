"""Files that are whole or absent, and folders with one writer, whoever dies when."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanochat.core.artifact import atomic_path, locked, read_json, sha256_file, write_json, write_text
from nanochat.core.errors import MachineError

HALFWAY = """
import sys, time
from pathlib import Path
from nanochat.core.artifact import atomic_path
with atomic_path(Path(sys.argv[1])) as part:
    with part.open("w") as file:
        file.write("half of the n")
        file.flush()
        print("ready", flush=True)
        time.sleep(600)
"""

HOLDING = """
import sys, time
from pathlib import Path
from nanochat.core.artifact import locked
with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def another_process(program: str, path: Path) -> Iterator[subprocess.Popen]:
    """A process that has come as far as saying `ready`; killed at the end if it still lives."""
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    write_text(path, "newer\r\n")
    assert path.read_bytes() == b"newer\r\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as part:
        part.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with another_process(HALFWAY, path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_json_that_cannot_be_read_back_is_not_written(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ü": [1, None]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) == {"ü": [1, None]}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(MachineError, match=r"a\.json: is damaged .*remove it"):
        read_json(path)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    for attempt in (
        lambda: write_text(tmp_path / "taken" / "a.txt", "new"),
        lambda: locked(tmp_path / "taken" / "lock").__enter__(),
    ):
        with pytest.raises(MachineError, match=r"cannot be written .*choose another folder") as error:
            attempt()
        assert len(str(error.value).splitlines()) == 1


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / "lock"
    with another_process(HOLDING, path) as holder:
        with locked(path, wait=False) as held:
            assert not held
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with locked(path) as held:
            assert held
            with another_process(HOLDING.replace("locked(Path(sys.argv[1]))", REFUSED), path):
                pass
    with locked(path, wait=False) as held:
        assert held


# The other side: while this process holds the lock, another is told that it does not.
REFUSED = "locked(Path(sys.argv[1]), wait=False) as held:\n    assert not held\nwith locked(Path(sys.argv[1] + '2'))"


def test_a_lock_is_waited_for(tmp_path):
    path = tmp_path / "lock"
    with another_process(HOLDING, path) as holder:
        killer = threading.Timer(0.1, holder.kill)
        killer.start()
        with locked(path) as held:
            assert held
            assert holder.wait(timeout=60) == -signal.SIGKILL
        killer.join()


def test_a_lock_is_released_when_its_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", wait=False) as held:
        assert held


def test_hashes_are_of_contents(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"x" * 100_000).hexdigest()
