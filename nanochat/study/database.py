"""A study's memory in a database that many machines reach: Optuna's tables, by `study.storage=postgresql+psycopg://…`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from nanochat.core.errors import SpecError, spec_error
from nanochat.study.journal import alone
from nanochat.study.outage import Unreachable

CONNECT_SECONDS = 10


class Database:
    """Optuna's storage at `url`. One writer at a time, by the lock in the study's shared folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.address = shown(url)

    def open(self) -> BaseStorage:
        """Connect. Raises `Unreachable` where nobody answers, or answers no."""
        with self._explained():
            engine = {"pool_pre_ping": True, "pool_size": 1, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
            return optuna.storages.get_storage(optuna.storages.RDBStorage(self.url, engine_kwargs=engine))

    def shown(self) -> BaseStorage:
        """The storage for a program that writes when it pleases."""
        return self.open()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone with the study. Not reentrant."""
        with alone(self.folder), self._explained():
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = error.__cause__ or error
            lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
            reason = lines[0] if lines else type(cause).__name__
            raise Unreachable(f"study.storage={self.address}: does not answer ({reason})") from error


def check_url(url: str) -> None:
    """Refuse a storage that cannot serve several workers, or whose driver is missing."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            parsed.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError):
        raise _unsupported(url) from None
    except ImportError as error:
        remedy = "pip install 'nanochat[postgres]', and write postgresql+psycopg://…"
        raise spec_error("study.storage", shown(url), f"needs a driver that is missing ({error})", remedy) from None
    if backend != "postgresql":
        raise _unsupported(url)


def shown(url: str) -> str:
    """The address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url.partition("@")[2] or url


def _unsupported(url: str) -> SpecError:
    remedy = "use postgresql+psycopg://user@host/database, or null for the journal in the study's folder"
    return spec_error("study.storage", shown(url), "is no storage that serves several workers", remedy)
