"""`pruner=none`: every trial runs to its end."""

from __future__ import annotations

from nanochat.pruner.base import PrunerSpec


class NoneSpec(PrunerSpec):
    """Gives nothing up."""

    def build(self, *, tokens: int, first: int) -> None:
        return None
