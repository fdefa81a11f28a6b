"""One corpus for all tests of trained weights, and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import program as program


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose cache holds the corpus."""
    return tmp_path_factory.mktemp("weights")
