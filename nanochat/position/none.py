"""No positions: the causal mask alone tells order (NoPE, 2305.19466)."""

from __future__ import annotations

from nanochat.position.base import PositionSpec


class NoneSpec(PositionSpec):
    """Fills no hook, so every attention accepts it."""
