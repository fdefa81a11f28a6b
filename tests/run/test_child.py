"""A run in a process of its own: what it is given before anything can look at it."""

from __future__ import annotations

import subprocess
import sys

from tests.run.children import Child
from tests.run.targets import observed


def test_the_environment_is_set_and_stays_in_the_child(tmp_path):
    with Child(tmp_path, "stop.steps=1", target=observed, environment={"CUDA_VISIBLE_DEVICES": "5"}) as child:
        assert child.result()["status"] == "complete"
        assert child.until(kind="seen")["value"] == "5"
    with Child(tmp_path, "stop.steps=1", target=observed) as child:
        assert child.until(kind="seen")["value"] != "5"


def test_nothing_that_a_child_imports_asks_for_devices():
    """CUDA reads CUDA_VISIBLE_DEVICES once, at the first question."""
    code = """
import torch
def asked(*_, **__): raise SystemExit("asked for devices")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = torch.cuda._lazy_init = asked
if hasattr(torch._C, "_cuda_getDeviceCount"):
    torch._C._cuda_getDeviceCount = asked
import lightning, nanochat.run.child
"""
    subprocess.run([sys.executable, "-c", code], check=True)
