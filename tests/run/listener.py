"""A run's owner in the same process, for tests: it listens, and asks to stop at a chosen moment."""

from __future__ import annotations

from nanochat.trainer.control import Silent


class Listener(Silent):
    """Keeps the reports; asks to stop once `most` tokens are trained on, in the phase `during` if one is named."""

    def __init__(self, most: int = 10**9, *, during: str | None = None) -> None:
        self.most = most
        self.during = during
        self.stopping = False
        self.heard: list[tuple[int, float]] = []

    def progress(self, phase, *, tokens, total, loss=None, bpb=None):
        self.stopping = self.stopping or (tokens >= self.most and self.during in (None, phase))

    def report(self, *, tokens, bpb):
        self.heard.append((tokens, bpb))

    def stop_requested(self):
        return self.stopping
