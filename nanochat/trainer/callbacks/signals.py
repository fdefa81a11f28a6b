"""Whoever started the run decides what a signal means."""

from __future__ import annotations

import signal
import threading

from lightning import Callback, LightningModule, Trainer


class OwnSignals(Callback):
    """Puts back the handler of SIGTERM that was there when this callback was made.

    Lightning's own ends the process from within the training loop, with exit code 0 and, at most times, without the
    checkpoint that the run's owner was asked for.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)
        # One that came just before reached that handler too; Lightning would still end the process for it.
        trainer._signal_connector.received_sigterm = False
