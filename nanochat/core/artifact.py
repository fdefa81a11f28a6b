"""Files that are either whole or absent, folders with one writer, and hashes of contents."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nanochat.core.errors import MachineError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is flushed to disk and renamed to `path`.

    A reader sees the old file or the whole new one. Raises `MachineError` when the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say in one line that `path` cannot be written, and why."""
    try:
        yield
    except MachineError:
        raise
    except Exception as error:
        # Libraries in other languages have errors of their own for a full disk.
        full = os.strerror(errno.ENOSPC)
        if not isinstance(error, OSError) and full not in str(error):
            raise
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else full
        raise MachineError(f"{path}: cannot be written ({reason}); free it or choose another folder") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Write plain data as readable JSON, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`; raises `MachineError` naming the file when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MachineError(f"{path}: is damaged ({error}); remove it to have it made again") from error


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock file; the kernel drops it when the holder dies, however it dies.

    Yields True while held. With `wait=False` yields False at once where another process holds it.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
    try:
        yield True
    finally:
        lock.release()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
