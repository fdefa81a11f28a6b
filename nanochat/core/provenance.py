"""Where a result comes from: the code, the packages, the machine."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "lightning", "optuna", "hydra-core", "omegaconf", "pydantic", "numpy", "sentencepiece", "wandb")

# What decides a run's numbers; study, report and task only choose and show runs.
FINGERPRINTED = (
    "core",
    "tokenizer",
    "norm",
    "position",
    "attention",
    "ffn",
    "init",
    "model",
    "data",
    "optimizer",
    "lr",
    "objective",
    "eval",
    "logger",
    "trainer",
    "run",
)


class Origin(NamedTuple):
    """What `run.json` says of where a run comes from: the code's fingerprint and the rest of its provenance."""

    code: dict[str, str]
    provenance: dict[str, Any]


def origin() -> Origin:
    """Of this process. Reading all the code takes half a second: a study does it once and hands it to its runs."""
    return Origin(code_fingerprint(), provenance())


@functools.cache
def code_fingerprint() -> dict[str, str]:
    """A hash of each source file that decides a run's numbers, without comments, docstrings and layout."""
    files = [path for package in FINGERPRINTED for path in sorted((PACKAGE / package).rglob("*.py"))]
    return {path.relative_to(PACKAGE).as_posix(): _syntax_hash(path) for path in files}


def changed_files(then: dict[str, str], *, now: dict[str, str] | None = None) -> list[str]:
    """The files of a stored fingerprint whose code is no longer the same, or that are gone.

    A file added since can only matter through one that changed: adding a component leaves every run as it was.
    """
    now = code_fingerprint() if now is None else now
    return sorted(name for name in then if then[name] != now.get(name))


@functools.cache
def provenance() -> dict[str, Any]:
    """Revision and local changes, package versions, hardware; plain data for `run.json`."""
    return {
        "revision": _git("rev-parse", "HEAD"),
        "local_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "command": without_passwords(sys.argv),
    }


def without_passwords(words: Sequence[str]) -> list[str]:
    """The words of a command as they may be shown: an address like `user:password@host` without its password."""
    return [re.sub(r"(://[^:/@\s]*:)[^@\s]*@", r"\1***@", word) for word in words]


def _syntax_hash(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
