"""How an arm looks in every figure: its colour by its name, its line by the scale, its mark by both."""

from __future__ import annotations

from typing import Any

from nanochat.report.figures import COLOURS, DASHES, SYMBOLS
from nanochat.report.frame import Frame


def ink(frame: Frame, arm: str) -> str:
    """The arm's colour, the same at every scale."""
    return COLOURS[_place(frame, arm) % len(COLOURS)]


def line(frame: Frame, arm: str, *, width: float = 1.5) -> dict[str, Any]:
    """The arm's line, of another kind for another scale and where colours come round again."""
    rounds = _place(frame, arm) // len(COLOURS)
    return {"color": ink(frame, arm), "width": width, "dash": DASHES[(_scale(frame, arm) + rounds) % len(DASHES)]}


def mark(frame: Frame, arm: str, *, size: float = 6) -> dict[str, Any]:
    """The arm's marker: what colour tells, shape tells too."""
    place = _place(frame, arm)
    kind = SYMBOLS[(place + place // len(COLOURS)) % len(SYMBOLS)]
    return {"color": ink(frame, arm), "symbol": kind + ("-open" if _scale(frame, arm) % 2 else ""), "size": size}


def _place(frame: Frame, arm: str) -> int:
    return frame.names.index(frame.definition.arm(arm).alone)


def _scale(frame: Frame, arm: str) -> int:
    return frame.scales.index(frame.definition.arm(arm).scale)
