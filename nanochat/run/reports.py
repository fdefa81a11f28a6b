"""What a run reported of itself: its validations, as its rows keep them."""

from __future__ import annotations

from nanochat.logger.csv import read
from nanochat.run.folder import RunFolder
from nanochat.trainer.control import Control


def reports(folder: RunFolder) -> list[tuple[int, float]]:
    """Tokens trained on, and bits per byte on the valid split, at each validation so far: bit for bit as measured."""
    rows = read(folder.metrics_file)
    return [(row["tokens"], row["valid_bpb"]) for row in rows if row["valid_bpb"] is not None]


def repeat(folder: RunFolder, *, control: Control) -> None:
    """Report all that was reported before: whoever listened then may be gone, and what was said last with them."""
    for tokens, bpb in reports(folder):
        control.report(tokens=tokens, bpb=bpb)
