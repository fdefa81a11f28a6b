"""Real texts and scaling data that tests may read: never part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"


def shared_text(name: str) -> Path:
    """The path of `data/text/<name>` in the folder NANOCHAT_SHARED (default: `shared`, beside the repository).

    Skips the test, saying which file is missing, where it is not there.
    """
    return _shared(Path("text") / name)


def shared_scaling(name: str) -> Path:
    """The same for `data/scaling/<name>`."""
    return _shared(Path("scaling") / name)


def _shared(name: Path) -> Path:
    path = Path(os.environ.get("NANOCHAT_SHARED", BESIDE_THE_REPOSITORY)) / "data" / name
    if not path.exists():
        pytest.skip(f"needs {path}; NANOCHAT_SHARED names the folder it is in")
    return path
