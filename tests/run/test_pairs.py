"""Every attention trains with every FFN: two real steps, scored on real documents."""

from __future__ import annotations

import math

import options
import pytest

from tests.runs import run_small


@pytest.mark.parametrize("ffn", options.names("ffn"))
@pytest.mark.parametrize("attention", options.names("attention"))
def test_attention_and_ffn_train_together(attention: str, ffn: str, tmp_path):
    result, _ = run_small(
        tmp_path, f"attention={attention}", f"ffn={ffn}", "model.dim=64", "stop.steps=2", "eval.evaluations=1"
    )
    assert result["status"] == "complete", result["reason"]
    assert math.isfinite(result["test"]["bpb"])
