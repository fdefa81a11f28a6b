"""A PostgreSQL server of a test's own, to be stopped and started at will."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

SUPERUSER = "nanochat"


def binaries() -> Path | None:
    """Where Debian keeps the server's programs, or the PATH has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Server:
    """Listens on 127.0.0.1 alone. As root it runs as another user: PostgreSQL refuses to be root."""

    def __init__(self, folder: Path) -> None:
        found = binaries()
        if found is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
        self.programs = found
        self.data = folder / "data"
        self.user = "postgres" if os.getuid() == 0 else None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(folder, self.user)
        self.run("initdb", "-D", self.data, "-U", SUPERUSER, "--auth=trust", "--no-sync")
        settings = [
            f"port={self.port}",
            "listen_addresses='127.0.0.1'",
            "fsync=off",
            f"unix_socket_directories='{folder}'",
        ]
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(settings) + "\n")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{SUPERUSER}:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-w", "-l", self.data / "server.log", "start")

    def stop(self) -> None:
        """As a pulled plug."""
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def run(self, program: str, *arguments: object) -> None:
        as_user = ["runuser", "-u", self.user, "--"] if self.user else []
        words = [*as_user, str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(words, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
