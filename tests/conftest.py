"""Shared by all tests: one thread, no progress bars, small deterministic examples."""

from __future__ import annotations

import os

os.environ["NANOCHAT_QUIET"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples every time: a test that fails fails again. No deadline: tests assert no times.
settings.register_profile(
    "default", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
